"""Why a step has failed in a guest: what it lacked is asked once, over the step's own connection, and only when it has failed.

What the guest answers is untrusted: it is matched, limited and quoted, never run.
Sources: df(1) of POSIX; proc_uptime(5), proc_mounts(5); Linux's mm/oom_kill.c; what sudo(8) says with -n.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import free_space_help
from vm_manager.domain.deadline import Deadline
from vm_manager.guest.findings import Failed, Finding
from vm_manager.guest.last_words import read_last_words
from vm_manager.guest.ssh import SshSession
from vm_manager.host.disk_space import free_bytes

_LIMIT_S = 30.0
_CHARS = 16 * 1024
_FULL_KIB = 1024
# Between the clocks of the kernel's log and of this host.
_SLACK_S = 5.0

# As one command, whose input is not the script's.
_SCRIPT = """\
look() {{
    echo vmctl:space; df -Pk / /tmp "$HOME" {place}
    echo vmctl:inodes; df -Pi / /tmp "$HOME" {place}
    echo vmctl:mounts; grep ' / ' /proc/mounts
    echo vmctl:uptime; cat /proc/uptime
    echo vmctl:killed; {{ dmesg || sudo -n dmesg; }} | grep -i 'killed process' | tail -n 3
    echo vmctl:missing; for program in {programs}; do command -v "$program" >/dev/null || echo "$program"; done
    echo vmctl:user; id -un
    echo vmctl:sudo; sudo -n true 2>&1 || echo vmctl:refused
}}
look </dev/null 2>/dev/null
exit 0
"""
_SECTION = re.compile(r"^vmctl:(space|inodes|mounts|uptime|killed|missing|user|sudo)$", re.MULTILINE)
_SPACE = re.compile(r"^.+ (?P<total>\d{1,18}) +\d+ +(?P<free>-?\d{1,18}) +\d+% +(?P<mount>/.{,200})$", re.MULTILINE)
_KILLED = re.compile(r"^\[ *(\d{1,12}\.\d+)\].*killed process \d+ \(([^)\n]{,64})\).*$", re.MULTILINE | re.IGNORECASE)
_READ_ONLY = re.compile(r"^\S+ / \S+ (?:\S+,)?ro(?:,| )", re.MULTILINE)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_NO_SPACE = "No space left on device"


def why_it_failed(session: SshSession, failed: Failed, deadline: Deadline) -> Finding | None:
    """What the guest lacks, else what the step's last words mean, or None when nothing is known."""
    place = shlex.quote(failed.place or "/")
    script = _SCRIPT.format(place=place, programs=" ".join(map(shlex.quote, failed.programs)) or "sh")
    limit = Deadline(deadline.within(_LIMIT_S), deadline.cancel)
    try:
        said = session.capture("sh", limit, input=[script.encode()], most_chars=_CHARS).stdout
    except (VmError, TimeoutError):
        deadline.cancel.raise_if_cancelled()
        return read_last_words(failed, "")
    _, *parts = _SECTION.split(said)
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    user = _USER.fullmatch(found.get("user", "").strip())
    return next(_findings(failed, found), None) or read_last_words(failed, user[0] if user else "")


def _findings(failed: Failed, found: dict[str, str]) -> Iterator[Finding]:
    """The likeliest first."""
    for look in (_interpreter, _memory, _read_only, _space, _sudo):
        if finding := look(failed, found):
            yield finding


def _interpreter(failed: Failed, found: dict[str, str]) -> Finding | None:
    missing = [program for program in failed.programs if program in found.get("missing", "").splitlines()]
    if not missing or failed.status not in (126, 127):
        return None
    return Finding(
        f"{missing[0]}, which its script's first line names, is not installed in the guest",
        ("install it in a step before this one, or change the script's first line",),
    )


def _memory(failed: Failed, found: dict[str, str]) -> Finding | None:
    now = re.match(r"\s*(\d+\.\d+) ", found.get("uptime", ""))
    if not now:
        return None
    since = float(now[1]) - failed.elapsed_s - _SLACK_S
    killed = [kill for kill in _KILLED.finditer(found.get("killed", "")) if float(kill[1]) >= since]
    if not killed:
        return None
    return Finding(
        f"the guest ran out of memory, and its kernel killed {killed[-1][2]}",
        ("raise `memory` in the VMFile",),
        (_quoted("kernel_log", "the guest's kernel log", [kill[0] for kill in killed]),),
        "run `vmctl down` and `vmctl up`, which starts with the first step",
    )


def _read_only(failed: Failed, found: dict[str, str]) -> Finding | None:
    if "Read-only file system" not in failed.said or not _READ_ONLY.search(found.get("mounts", "")):
        return None
    return Finding(
        "the guest's root file system is read-only",
        (
            f"see why in the guest's kernel log, errors of the disk for example: `vmctl log {failed.name}`",
            "if it is meant to be, have the step write elsewhere",
        ),
        (_quoted("guest", "/proc/mounts in the guest", found["mounts"].splitlines()),),
    )


def _space(failed: Failed, found: dict[str, str]) -> Finding | None:
    shared = {mount.target for mount in failed.shares}
    every = {row["mount"]: row for row in _SPACE.finditer(found.get("space", "")) if row["mount"] not in shared}
    rows = list(every.values())
    nodes = [row for row in _SPACE.finditer(found.get("inodes", "")) if int(row["total"])]
    writable = not _READ_ONLY.search(found.get("mounts", ""))
    full = [row["mount"] for row in rows if writable and int(row["total"]) and int(row["free"]) < _FULL_KIB]
    used_up = [row["mount"] for row in nodes if writable and not int(row["free"])]
    if not full and not used_up:
        if _NO_SPACE not in failed.said:
            return None
        if share := _full_share(failed):
            return share
    shown = [f"{row['mount']}: {int(row['free']) // 1024} of {int(row['total']) // 1024} MiB free" for row in rows]
    if full:
        why = f"the guest's file system {full[0]} is full"
    elif used_up:
        why = f"the guest's file system {used_up[0]} has no inodes left"
    else:
        why = "the guest's disk is full"
    return Finding(
        why,
        (
            f"free up space in the guest: `vmctl ssh {failed.name}`",
            "or set a larger `disk` in the VMFile, which takes effect in a new VM",
        ),
        (_quoted("guest", "the guest's file systems", shown),) if shown else (),
    )


def _full_share(failed: Failed) -> Finding | None:
    """A directory of this host that the guest has, on a file system that is full."""
    for mount in failed.shares:
        free = free_bytes(Path(mount.source))
        if not mount.read_only and free is not None and free < _FULL_KIB * 1024:
            return Finding(
                f"this host's file system is full: {mount.source}, which the guest has on {mount.target}",
                (free_space_help(mount.source),),
            )
    return None


def _sudo(failed: Failed, found: dict[str, str]) -> Finding | None:
    said = found.get("sudo", "")
    if "vmctl:refused" not in said or "sudo" not in failed.said:
        return None
    lines = said.replace("vmctl:refused", "").splitlines()
    if "not found" in said:
        return None
    if "tty" in said:
        why, way = "sudo in the guest demands a terminal", "remove `Defaults requiretty` from /etc/sudoers in the guest"
    else:
        why = "sudo in the guest demands a password"
        way = "let the user run sudo without one, by a NOPASSWD rule in /etc/sudoers in the guest"
    return Finding(
        why,
        (way, "or set another `user` in the `ssh` block of the VMFile, which takes effect in a new VM"),
        (_quoted("guest", "sudo -n true", lines),),
    )


def _quoted(kind: str, title: str, lines: Sequence[str]) -> Evidence:
    return Evidence(kind, title, tuple(lines[:10]))
