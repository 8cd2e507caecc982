"""YAML that a VMFile names: user-data and network configuration. cloud-init ignores silently what it cannot read."""

from __future__ import annotations

import email
import re
from collections.abc import Sequence
from dataclasses import replace
from email.message import Message
from itertools import pairwise

import yaml

from vm_manager.diagnostics.model import Label
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.names import closest
from vm_manager.vmfile.bounded_yaml import YamlTooLarge, load
from vm_manager.vmfile.flaws import Flaw

_CLOUD_CONFIG = "#cloud-config"
# cloud-init's documentation, "User-data formats", and INCLUSION_TYPES_MAP in its handlers, which ignore case.
_OTHER_HEADERS = (
    "#!", "#include", "#cloud-boothook", "#part-handler", "## template: jinja", "#cloud-config-archive",
    "#cloud-config-jsonp", "#upstart-job", "content-type:", "mime-version:",
)  # fmt: skip
_MIME_HEADERS = ("content-type:", "mime-version:")
# What a parser may quote: a character, and its names of tokens such as '<block end>'.
_QUOTED = re.compile(r"'(?!<[a-z ]+>')[^']{2,}'|\"[^\"]{2,}\"")
_CHARACTER = re.compile(r"[^\s]")
_NOT_A_LINE_END = re.compile(r"[^\n]")
_CLOUD_CONFIG_TYPE = "text/cloud-config"
# `/var/lib/cloud/instance/scripts/runcmd: 3: Syntax error: "(" unexpected`, of dash; bash says `line 3:`, `syntax error near`.
_SH_ERROR = re.compile(r"/scripts/runcmd: (?:line )?(\d{1,6}): (.{0,200})")
_UNEXPECTED = re.compile(r"(?i)^syntax error.*unexpected")
# What may end a script before its last line.
_ENDS_EARLY = re.compile(r"\b(?:exit|exec|kill|errexit)\b|\bset +-\w*e")
_MOST_SAID = 100
_MOST_KEYS = 20
_GZIP = b"\x1f\x8b"
# The properties of cloud-init's schema-cloud-config-v1.json, and what older versions and the base configuration know besides.
_KEYS = (
    "allow_public_ssh_keys", "ansible", "apk_repos", "apt", "apt_pipelining", "apt_reboot_if_required", "apt_update",
    "apt_upgrade", "authkey_hash", "autoinstall", "bootcmd", "byobu_by_default", "ca-certs", "ca_certs", "chef",
    "chpasswd", "cloud_config_modules", "cloud_final_modules", "cloud_init_modules", "create_hostname_file",
    "device_aliases", "disable_ec2_metadata", "disable_piwiz", "disable_root", "disable_root_opts", "disk_setup",
    "drivers", "enable_rpi_connect", "fan", "final_message", "fqdn", "fs_setup", "groups", "growpart", "grub-dpkg",
    "grub_dpkg", "hostname", "keyboard", "landscape", "launch-index", "locale", "locale_configfile", "lxd",
    "manage_etc_hosts", "manage_resolv_conf", "mcollective", "merge_how", "merge_type", "migrate",
    "mount_default_fields", "mounts", "no_ssh_fingerprints", "ntp", "output", "package_reboot_if_required",
    "package_update", "package_upgrade", "packages", "password", "phone_home", "power_state",
    "prefer_fqdn_over_hostname", "preserve_hostname", "puppet", "random_seed", "reporting", "resize_rootfs",
    "resolv_conf", "rh_subscription", "rpi", "rpi_interfaces", "rpi_userconf", "rsyslog", "runcmd", "salt_minion",
    "snap", "spacewalk", "ssh", "ssh_authorized_keys", "ssh_deletekeys", "ssh_fp_console_blacklist", "ssh_genkeytypes",
    "ssh_import_id", "ssh_key_console_blacklist", "ssh_keys", "ssh_publish_hostkeys", "ssh_pwauth", "ssh_quiet_keygen",
    "swap", "system_info", "timezone", "ubuntu_advantage", "ubuntu_pro", "updates", "user", "users", "vendor_data",
    "version", "wireguard", "write_files", "yum_repo_dir", "yum_repos", "zypper", "apt_mirror",
    "apt_preserve_sources_list", "apt_proxy", "apt_sources", "datasource", "datasource_list", "debug", "def_log_file",
    "instance-id", "log_cfgs", "manual_cache_clean", "merge_with", "network", "repo_update", "repo_upgrade", "snappy",
    "ssh-import-id", "ssh_svcname", "syslog_fix_perms", "unverified_modules", "vendor_data2",
)  # fmt: skip


def check_user_data(content: bytes, name: str) -> list[Flaw]:
    """What is wrong with a file of user-data. name: of the file, for snippets."""
    text = _text(content)
    if text is None:
        return []
    head = text.lstrip().lower()
    if head.startswith(_MIME_HEADERS):
        return _check_parts(text, name)
    if head.startswith("#!") and head.partition("\n")[0].endswith("\r"):
        return [_windows_script()]
    if not head.startswith(_CLOUD_CONFIG) or head.startswith(_OTHER_HEADERS):
        return [] if head.startswith(_OTHER_HEADERS) else [_no_header(text, name)]
    return _check_yaml(text, name) or _unknown_keys(text, name)


def _check_parts(text: str, name: str) -> list[Flaw]:
    """What is wrong with a message of several parts: the first of its cloud-configs that is, at its place in the file."""
    message = email.message_from_string(text)
    if not message.is_multipart():
        help = 'name the boundary that its parts have: Content-Type: multipart/mixed; boundary="…"'
        return [Flaw(problem="is a MIME message without parts, and would be ignored", help=help, warning=True)]
    parts = [part for part in message.walk() if not part.is_multipart()]
    begins = 0
    for number, part in enumerate(parts, 1):
        content = str(part.get_payload())
        at = text.find(content, begins)
        begins = at + len(content) if at >= 0 else begins
        flaws = _check_part(part, content, "" if at < 0 else text[:at], name)
        if flaws:
            return [replace(flaw, problem=f"{flaw.problem} (in part {number} of {len(parts)})") for flaw in flaws]
    return []


def _check_part(part: Message, content: str, before: str, name: str) -> list[Flaw]:
    """before: the file up to the part; empty where the part is encoded, so that its lines are not those of the file."""
    if part.get("Content-Transfer-Encoding", "").lower() in ("base64", "quoted-printable"):
        payload = part.get_payload(decode=True)
        content, before = payload.decode(errors="replace") if isinstance(payload, bytes) else "", ""
    if not content.lstrip().lower().startswith(_CLOUD_CONFIG) and part.get_content_type() != _CLOUD_CONFIG_TYPE:
        return []
    if not (_check_yaml(content, name) or _unknown_keys(content, name)):
        return []
    # Blank in front of it, what is wrong stands in the line of the file.
    whole = _NOT_A_LINE_END.sub(" ", before) + content
    return _check_yaml(whole, name) or _unknown_keys(whole, name)


def check_network_config(content: bytes, name: str) -> list[Flaw]:
    """What is wrong with a file of network configuration: YAML with a mapping."""
    text = _text(content)
    return [Flaw(problem="is not UTF-8 text")] if text is None else _check_yaml(text, name)


def _text(content: bytes) -> str | None:
    if content.startswith(_GZIP):
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _no_header(text: str, name: str) -> Flaw:
    return Flaw(
        problem="does not start with a header that cloud-init knows, and would be ignored",
        help=f"start it with {_CLOUD_CONFIG}, or with #! and an interpreter",
        place=Label(_without_values(text, name), Span(0, 0), "no header", False),
        warning=True,
    )


def _windows_script() -> Flaw:
    return Flaw(
        problem="is a script with Windows line endings",
        help="save it with Unix line endings: a carriage return would become part of the interpreter's name",
    )


def _check_yaml(text: str, name: str) -> list[Flaw]:
    try:
        document, _ = load(text)
    except YamlTooLarge as error:
        place = _place(error, text, name)
        return [Flaw(problem=f"is too complex: {error.problem}", help="simplify it", place=place)]
    except yaml.YAMLError as error:
        place = _place(error, text, name)
        if place is None:
            return [Flaw(problem="is not valid YAML", help="check it with a YAML linter")]
        line, column = place.source.position(place.span.start)
        where = f"is not valid YAML at line {line}, column {column}: {_said(error)}"
        return [Flaw(problem=where, help="fix that line", place=place)]
    if document is not None and not isinstance(document, dict):
        return [Flaw(problem="is not a mapping", help="write keys and values at the top level: packages: […]")]
    return []


def _place(error: Exception, text: str, name: str) -> Label | None:
    """Where PyYAML found it; None for odd dates, say, of which it does not tell."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return None
    start = min(mark.index, len(text))
    return Label(_without_values(text, name), Span(start, min(start + 1, len(text))), "here", False)


def _said(error: Exception) -> str:
    """PyYAML's words without what it quotes of the file, but for single characters and its own names of tokens."""
    problem = re.sub(r"[^\x20-\x7e]", "?", getattr(error, "problem", None) or "")
    return _QUOTED.sub("'…'", problem).rstrip(".")[:_MOST_SAID]


def find_keys(content: bytes, name: str, keys: Sequence[str], said: str) -> tuple[Label, ...]:
    """Those of these keys that stand at the top of a file of user-data; none when it is no cloud-config.

    said: what cloud-init's modules printed, by which the item of `runcmd` that failed may be known.
    """
    text = _text(content)
    if text is None or not text.lstrip().lower().startswith(_CLOUD_CONFIG):
        return ()
    places = {key.value: (key, value) for key, value in _top_pairs(text)}
    found = [places[key] for key in keys if key in places]
    items = [_failed_item(value, said) for key, value in found if key.value == "runcmd"]
    marks = [(_dash(item, text), "this item failed") for item in items if item]
    marks += [(_span(key), "failed in the guest") for key, _ in found]
    source = _with_only([span for span, _ in marks], text, name)
    return tuple(Label(source, span, what, at == 0) for at, (span, what) in enumerate(marks))


def _failed_item(runcmd: yaml.Node, said: str) -> yaml.Node | None:
    """Of a `runcmd` whose script failed the item that did, where that is plain.

    cloud-init makes one script of all of them, and sh goes on behind one that fails: the script's exit status is that of the
    last, unless it ends before. Source: cloud-init's `util.shellify`.
    """
    items = runcmd.value if isinstance(runcmd, yaml.SequenceNode) else []
    wrong = [int(line) for line, error in _SH_ERROR.findall(said) if _UNEXPECTED.search(error)]
    if wrong:
        return _item_at(items, wrong[-1])
    early = any(_ENDS_EARLY.search(line) for item in items[:-1] for line in _texts(item))
    return items[-1] if items and not early else None


def _item_at(items: Sequence[yaml.Node], line: int) -> yaml.Node | None:
    """The item of which a line of the script comes; the first line names the interpreter."""
    last = 1
    for item in items:
        last += 1 + sum(text.count("\n") for text in _texts(item))
        if line <= last:
            return item
    return None


def _texts(item: yaml.Node) -> list[str]:
    parts = item.value if isinstance(item, yaml.SequenceNode) else [item]
    return [part.value for part in parts if isinstance(part, yaml.ScalarNode)]


def _dash(item: yaml.Node, text: str) -> Span:
    """The dash before an item, or the place where it begins: nothing of its text may be shown."""
    start = item.start_mark.index
    before = text[:start].rstrip(" ")
    return Span(len(before) - 1, len(before)) if before.endswith("-") else Span(start, start)


def host_keys_of(user_data: bytes | None) -> tuple[str, ...]:
    """The public SSH host keys that user-data gives the guest itself; cloud-init prefers them to vendor-data's."""
    text = _text(user_data or b"")
    if not text or not text.startswith(_CLOUD_CONFIG):
        return ()
    try:
        config, _ = load(text)
    except yaml.YAMLError:
        return ()
    keys = config.get("ssh_keys") if isinstance(config, dict) else None
    if not isinstance(keys, dict):
        return ()
    # What is no text is not unfolded into one: aliases would make it as long as they like.
    texts = {name: key for name, key in keys.items() if isinstance(name, str) and isinstance(key, str)}
    return tuple(key.strip() for name, key in texts.items() if name.endswith("_public"))


def _without_values(text: str, name: str) -> Source:
    """Where something stands in user-data may be told, but nothing of its text, which may be secret."""
    return Source(name, _CHARACTER.sub("*", text))


def _span(key: yaml.ScalarNode) -> Span:
    return Span(key.start_mark.index, key.end_mark.index)


def _with_only(spans: Sequence[Span], text: str, name: str) -> Source:
    """The text without anything but these stretches, which may be shown."""
    ordered = sorted(spans, key=lambda span: span.start)
    shown = [Span(0, 0), *ordered, Span(len(text), len(text))]
    return Source(name, text).without(tuple(Span(one.end, after.start) for one, after in pairwise(shown)))


def _top_pairs(text: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    try:
        _, root = load(text)
    except yaml.YAMLError:
        return []
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return [(key, value) for key, value in pairs if isinstance(key, yaml.ScalarNode)]


def _top_keys(text: str) -> list[yaml.ScalarNode]:
    return [key for key, _ in _top_pairs(text)]


def _unknown_keys(text: str, name: str) -> list[Flaw]:
    """Keys at the top that no module of cloud-init reads."""
    flaws = []
    unknown = [key for key in _top_keys(text) if key.value not in _KEYS][:_MOST_KEYS]
    source = _with_only([_span(key) for key in unknown], text, name)
    for key in unknown:
        near = closest(key.value, _KEYS)
        flaws.append(
            Flaw(
                problem=f"has a key that cloud-init ignores: {' '.join(key.value.split())[:60]}",
                help=f"did you mean `{near}`?" if near else "remove it, or see cloud-init's module reference",
                place=Label(source, _span(key), "silently ignored", False),
                warning=True,
            )
        )
    return flaws
