"""YAML that a VMFile names: user-data and network configuration. cloud-init ignores silently what it cannot read."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

from vm_manager.diagnostics.model import Label
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.names import closest
from vm_manager.vmfile.flaws import Flaw

_CLOUD_CONFIG = "#cloud-config"
# cloud-init's documentation, "User-data formats", and INCLUSION_TYPES_MAP in its handlers, which ignore case.
_OTHER_HEADERS = (
    "#!", "#include", "#cloud-boothook", "#part-handler", "## template: jinja", "#cloud-config-archive",
    "#cloud-config-jsonp", "#upstart-job", "content-type:", "mime-version:",
)  # fmt: skip
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
    if not head.startswith(_CLOUD_CONFIG) or head.startswith(_OTHER_HEADERS):
        return [] if head.startswith(_OTHER_HEADERS) else [_no_header(text, name)]
    return _check_yaml(text, name) or _unknown_keys(text, name)


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
    end = len(text.split("\n", 1)[0])
    return Flaw(
        problem="begins with no header that cloud-init knows, and would be ignored",
        help=f"write {_CLOUD_CONFIG} into its first line, or #! and an interpreter",
        place=Label(Source(name, text), Span(0, end), "no header", False),
        warning=True,
    )


def _check_yaml(text: str, name: str) -> list[Flaw]:
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML lets the latter two through for odd dates and numbers and for deep nesting; they know no place.
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            return [Flaw(problem="is not valid YAML", help="have it checked by a YAML linter")]
        problem = re.sub(r"[^\x20-\x7e]", "?", getattr(error, "problem", None) or "").rstrip(".")
        start = min(mark.index, len(text))
        place = Label(Source(name, text), Span(start, min(start + 1, len(text))), "here", False)
        where = f"is not valid YAML at line {mark.line + 1}: {problem}"
        return [Flaw(problem=where, help="correct the line that is shown", place=place)]
    if document is not None and not isinstance(document, dict):
        return [Flaw(problem="is not a mapping", help="write keys with values at its top: packages: […]")]
    return []


def find_key(content: bytes, name: str, keys: Sequence[str]) -> Label | None:
    """The first of these keys that stands at the top of a file of user-data; None when it is no cloud-config."""
    text = _text(content)
    if text is None or not text.lstrip().lower().startswith(_CLOUD_CONFIG) or _check_yaml(text, name):
        return None
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    places = {key.value: key for key, _ in root.value} if isinstance(root, yaml.MappingNode) else {}
    for key in keys:
        if key in places:
            span = Span(places[key].start_mark.index, places[key].end_mark.index)
            return Label(_without_values(text, name), span, "failed in the guest")
    return None


def _without_values(text: str, name: str) -> Source:
    """Values of user-data may be secrets: a snippet shows the keys alone."""
    return Source(
        name, re.sub(r"(?m)^([^\s#:][^:\n]*:)[^\n]+$", lambda m: f"{m[1]}{'…':{len(m[0]) - len(m[1])}}", text)
    )


def _unknown_keys(text: str, name: str) -> list[Flaw]:
    """Keys at the top that no module of cloud-init reads."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return []
    shown = _without_values(text, name)
    flaws = []
    for key, _ in root.value:
        if isinstance(key, yaml.ScalarNode) and key.value not in _KEYS:
            near = closest(key.value, _KEYS)
            flaws.append(
                Flaw(
                    problem=f"has a key that cloud-init ignores: {' '.join(key.value.split())[:60]}",
                    help=f"did you mean `{near}`?" if near else "remove it, or see cloud-init's reference of modules",
                    place=Label(shown, Span(key.start_mark.index, key.end_mark.index), "ignored silently", False),
                    warning=True,
                )
            )
    return flaws
