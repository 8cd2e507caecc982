"""Why a QEMU that lives does not answer: what the kernel says of its process.

Sources: proc(5), `/proc/PID/stat` and `TracerPid`; the kernel's cgroup-v2, `cgroup.events`, and cgroup-v1/freezer-subsystem.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.diagnostics.errors import QmpConnectFailed

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Standstill:
    """A process that cannot run until somebody lets it.

    why: what it is, behind "its process". help: how it runs again. by_signal: whether SIGCONT is enough.
    note: how that happens, or None.
    """

    pid: int
    why: str
    help: str
    by_signal: bool = False
    note: str | None = None

    def error(self) -> QmpConnectFailed:
        """The failure of whoever needs an answer."""
        return QmpConnectFailed(
            "QEMU does not answer: its process {pid} {why}",
            {"pid": self.pid, "why": self.why},
            help=(self.help,),
            notes=(self.note,) if self.note else (),
        )


def standstill(home: Path) -> Standstill | None:
    """Why the QEMU in `home` cannot run now; None when it can, or is gone. Never fails."""
    pid = lock_owner(QemuFiles(home).pid)
    if not pid:
        return None
    return next((found for look in _LOOKS if (found := look(pid))), None)


def standing(home: Path) -> QmpConnectFailed | None:
    """The failure of a QEMU in `home` that can do nothing at the moment, because it is held or waits for a disk; else None."""
    if held := standstill(home):
        return held.error()
    pid = lock_owner(QemuFiles(home).pid)
    if not pid or process_state(pid) != "D":
        return None
    return QmpConnectFailed(
        "QEMU does not answer: its process {pid} waits for a disk or a network share",
        {"pid": pid},
        help=(f"see that the file systems of {home} and of the image respond: the process goes on when they do",),
    )


def silent(home: Path, timeout_s: float) -> QmpConnectFailed:
    """The failure of a wait for QEMU's answer, with what its process is doing instead."""
    found = standing(home) or QmpConnectFailed("QEMU's monitor does not answer")
    return found.enrich(timeout_s=timeout_s)


def process_state(pid: int) -> str:
    """The letter of its state: R, S, D, T and so on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _traced(pid: int) -> Standstill | None:
    if process_state(pid) != "t":
        return None
    tracer = _status_field(pid, "TracerPid")
    by = f"process {tracer} ({_command(tracer)})" if tracer else "a debugger"
    return Standstill(pid, f"is stopped by {by}, which traces it", f"let {by} continue or detach from it")


def _stopped(pid: int) -> Standstill | None:
    if process_state(pid) != "T":
        return None
    return Standstill(
        pid,
        "is stopped by a signal",
        f"let it run again: `kill -CONT {pid}`",
        by_signal=True,
        note="`kill -STOP` does that, and so do programs that pause others; the guest has only stood still",
    )


def _frozen(pid: int) -> Standstill | None:
    for line in _read(Path(f"/proc/{pid}/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        group = path.strip("/")
        if controllers == "freezer" and _read(_CGROUPS / "freezer" / group / "freezer.state").startswith("FROZEN"):
            return _thaw(pid, _CGROUPS / "freezer" / group / "freezer.state", "THAWED")
        if not controllers and "frozen 1" in _read(_CGROUPS / group / "cgroup.events"):
            return _thaw(pid, _CGROUPS / group / "cgroup.freeze", "0")
    return None


def _thaw(pid: int, control: Path, word: str) -> Standstill:
    thaw = f"echo {word} > {shlex.quote(str(control))}"
    return Standstill(pid, "is frozen with its cgroup", f"thaw it, as root, with what froze it or with `{thaw}`")


_LOOKS: tuple[Callable[[int], Standstill | None], ...] = (_traced, _stopped, _frozen)


def _status_field(pid: int, name: str) -> int:
    lines = _read(Path(f"/proc/{pid}/status")).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/comm")).strip() or "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
