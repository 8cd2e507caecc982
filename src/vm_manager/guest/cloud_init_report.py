"""What cloud-init says of its own work, by the files that every version leaves in the guest.

status.json and result.json are what `cloud-init status` is made from. They need no interpreter that starts for seconds in a
slow guest, and are the same for versions whose command knows neither `--format json` (before 22.4) nor exit status 2 (before
23.4). Sources: cloud-init's documentation, "Failure states" and "Status"; `cloudinit/cmd/main.py`, `status_wrapper`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vm_manager.domain.bounded_json import Unreadable, parse

# Of each document; also in the script.
_DOCUMENT_BYTES = 524288

#: Run by sh(1) from its input: waits for the end of cloud-init and prints what there is to know. Exit status 127: there is none.
WAIT_SCRIPT = """\
command -v cloud-init >/dev/null 2>&1 || test -d /run/cloud-init || exit 127
rounds=0 idle=0
until test -e /run/cloud-init/result.json; do
    if test -e /run/cloud-init/disabled || test -e /etc/cloud/cloud-init.disabled; then
        echo vmctl:disabled
        exit 0
    fi
    rounds=$((rounds + 1))
    if test $((rounds % 8)) -eq 0; then
        # As long as cloud-init is at work, or will be, systemd is "starting".
        case $(systemctl is-system-running 2>/dev/null) in
        running | degraded | maintenance) idle=$((idle + 1)) ;;
        *) idle=0 ;;
        esac
        test $idle -lt 5 || break
    fi
    sleep 0.25 2>/dev/null || sleep 1
done
for name in result status; do
    echo vmctl:$name
    head -c 524288 /run/cloud-init/$name.json 2>/dev/null
    echo
done
echo vmctl:units
systemctl list-units --state=failed --plain --no-legend 'cloud-*' 2>/dev/null | head -c 65536
echo vmctl:log
log=/var/log/cloud-init.log
run=
test -r $log || run='sudo -n'
$run grep -A 6 -e "running 'init-local'" -e 'Failed loading yaml blob' -e 'Unhandled non-multipart' $log 2>/dev/null |
    tail -c 65536
exit 0
"""

_SECTION = re.compile(r"^vmctl:(disabled|result|status|units|log)$", re.MULTILINE)
_BOOT = re.compile(r"running 'init-local'")
_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - \S+\[(\w+)\]: ")
# ('locale', ProcessExecutionError("…")), as a stage writes the failure of a module.
_MODULE = re.compile(r"\('([A-Za-z0-9_-]+)', ", re.DOTALL)
_RUN_PARTS = re.compile(r"Runparts: \d+ failures \(([^()]*)\)")
_UNREAD, _UNKNOWN = "Failed loading yaml blob", "Unhandled non-multipart"
# In place of the message, which quotes the text itself.
_IGNORED = "user-data without a known header is ignored"
_STAGES = ("init-local", "init", "modules-config", "modules-final")
# The keys of user-data that a module works for, where they are not called as it is.
_KEYS = {
    "apk_configure": ("apk_repos",), "apt_configure": ("apt",), "ca_certs": ("ca_certs", "ca-certs"),
    "disk_setup": ("disk_setup", "fs_setup"), "mounts": ("mounts", "swap"), "package_update_upgrade_install":
    ("packages", "package_upgrade", "package_update"), "power_state_change": ("power_state",),
    "resizefs": ("resize_rootfs",), "seed_random": ("random_seed",), "set_hostname": ("hostname", "fqdn"),
    "set_passwords": ("chpasswd", "password", "ssh_pwauth"), "ssh": ("ssh_keys", "ssh_genkeytypes", "ssh"),
    "ssh_import_id": ("ssh_import_id", "users"), "update_etc_hosts": ("manage_etc_hosts",),
    "users_groups": ("users", "groups"), "write_files_deferred": ("write_files",), "yum_add_repo": ("yum_repos",),
}  # fmt: skip


class Outcome(StrEnum):
    """How far cloud-init came.

    DONE: to its end. DISABLED: it was not to run. DIED: the boot is over, and it has written no result. NO_SEED: to its end,
    but it did not find its seed. UNREADABLE: it has written a result that says nothing.
    """

    DONE = "done"
    DISABLED = "disabled"
    DIED = "died"
    NO_SEED = "no seed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Report:
    """errors, warnings: texts, each once. modules: those that failed; keys: of user-data, that they were at work for."""

    outcome: Outcome
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def read_report(printed: str) -> Report:
    """What `WAIT_SCRIPT` printed. The guest's word: nothing about its shape is certain."""
    sections = _sections(printed)
    if "disabled" in sections:
        return Report(Outcome.DISABLED)
    result, status = _v1(sections.get("result", "")), _v1(sections.get("status", ""))
    stages = [stage for name in _STAGES if isinstance(stage := (status or {}).get(name), dict)]
    errors = [text for part in ({**(result or {})}, *stages) for text in _texts(part.get("errors"))]
    units = [line.split()[0] for line in sections.get("units", "").splitlines() if line.split()]
    failed_units = [f"the unit {unit} failed" for unit in units]
    if not sections.get("result", "").strip():
        return _report(Outcome.DIED, errors or failed_units, [])
    if result is None:
        return _report(Outcome.UNREADABLE, errors or failed_units, [])
    unread, ignored = _ignored_user_data(sections.get("log", ""))
    # 24.1 and later count a unit that failed although no module did.
    errors += unread
    warnings = []
    told, told_unread = set(map(_first_line, errors)), set(map(_first_line, unread))
    for text in (text for stage in stages for text in _recoverable(stage)):
        body = text.partition(": ")[2]
        if body.startswith(_UNREAD) and _first_line(body) not in told_unread:
            errors.append(_without_quotes(body))
            told.add(_first_line(errors[-1]))
        elif body.startswith(_UNKNOWN):
            ignored.append(_IGNORED)
        elif _first_line(body) not in told:
            warnings.append(text)
    errors = errors or failed_units
    datasource = str(result.get("datasource") or (status or {}).get("datasource") or "")
    outcome = Outcome.NO_SEED if datasource.startswith("DataSourceNone") else Outcome.DONE
    return _report(outcome, errors, warnings + ignored)


def _report(outcome: Outcome, errors: list[str], warnings: list[str]) -> Report:
    modules: list[str] = []
    keys: list[str] = []
    for text in errors:
        if found := _MODULE.match(text):
            name = found[1].replace("-", "_")
            script = _RUN_PARTS.search(text)
            modules.append(script[1] if script else found[1])
            keys += [script[1]] if script else _KEYS.get(name, (name,))
    unique = (tuple(dict.fromkeys(texts)) for texts in (errors, warnings, modules, keys))
    return Report(outcome, *unique)


def _sections(printed: str) -> dict[str, str]:
    _, *parts = _SECTION.split(printed)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _v1(text: str) -> dict[str, object] | None:
    try:
        document = parse(text, most_bytes=_DOCUMENT_BYTES + 2)
    except Unreadable:
        return None
    found = document.get("v1") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else None


def _texts(value: object) -> Iterator[str]:
    yield from (str(text) for text in (value if isinstance(value, list) else [value] if value else []))


def _recoverable(stage: dict[str, object]) -> Iterator[str]:
    """Since 23.4: texts by level of the log, DEPRECATED among them."""
    levels = stage.get("recoverable_errors")
    for level, texts in levels.items() if isinstance(levels, dict) else ():
        yield from (f"{level}: {text}" for text in _texts(texts))


def _first_line(text: str) -> str:
    """By which one text that is told twice is recognised."""
    return text.partition("\n")[0]


def _without_quotes(text: str) -> str:
    """Without the lines in which PyYAML quotes the text itself, which may hold secrets."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def _ignored_user_data(log: str) -> tuple[list[str], list[str]]:
    """Parts of user-data that cloud-init could not read, and parts whose type it does not know, since the last boot.

    Versions before 23.4 end with "done" all the same, and no file but the log says a word of it.
    """
    lines = log.splitlines()
    started = max((number for number, line in enumerate(lines) if _BOOT.search(line)), default=0)
    unread: list[list[str]] = []
    ignored: list[str] = []
    current: list[str] | None = None
    for line in lines[started:]:
        if _ENTRY.match(line):
            text = _ENTRY.sub("", line)
            current = [text] if text.startswith(_UNREAD) else None
            if current is not None:
                unread.append(current)
            elif text.startswith(_UNKNOWN):
                ignored.append(_IGNORED)
        elif current is not None and line != "--":
            current.append(line)
    return [_without_quotes("\n".join(lines)) for lines in unread], ignored
