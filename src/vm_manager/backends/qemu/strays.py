"""QEMUs that run on although their VM has lost them: found by what the kernel says of a process, not by files.

A process is taken for one only when it is this user's, sees the same root directory, and has vmctl's own command line. It is
ended through a pidfd, after another look at it: pids are reused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from vm_manager.backends.qemu.files import HOME_VARIABLE, NAMES, QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner, qemus
from vm_manager.domain.names import is_vm_name
from vm_manager.state.layout import LEAVING, PREPARING

if TYPE_CHECKING:
    from vm_manager.domain.deadline import Deadline
    from vm_manager.domain.events import EventSink

_PROC = Path("/proc")
_DELETED = " (deleted)"
_PAUSE_S = 0.1


@dataclass(frozen=True)
class QemuStray:
    """See `Stray` for the contract of each method and field. started: the process's start, in ticks since the host's."""

    name: str
    pid: int
    lost: str
    moved_to: str | None
    disk: str | None
    started: str
    vms: Path

    def stop(self, deadline: Deadline, emit: EventSink) -> None:
        from vm_manager.backends.qemu.shutdown import power_off

        with self._handle() as handle:
            if handle is not None:
                power_off(_PROC / str(self.pid) / "cwd", self.name, handle, deadline, emit)

    def destroy(self) -> None:
        from vm_manager.backends.qemu.shutdown import kill_and_wait

        with self._handle() as handle:
            if handle is not None:
                kill_and_wait(handle)

    @contextmanager
    def _handle(self) -> Iterator[int | None]:
        """A pidfd_open(2) descriptor of this very process; None when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            again = _stray(str(self.pid), self.vms)
            yield handle if again is not None and again.started == self.started else None
        finally:
            os.close(handle)


def find_strays(vms: Path) -> tuple[QemuStray, ...]:
    """The strays of a data directory, by pid. vms: its directory of VMs, there or not. Never fails."""
    place = Path(os.path.realpath(vms))
    found = _strays(qemus(), place)
    if found:
        # One that is just ending has removed its pid file.
        time.sleep(_PAUSE_S)
        found = _strays((str(stray.pid) for stray in found), place)
    return tuple(sorted(found, key=lambda stray: stray.pid))


def _strays(numbers: Iterable[str], vms: Path) -> list[QemuStray]:
    return [found for number in numbers if (found := _stray(number, vms)) is not None]


def _stray(number: str, vms: Path) -> QemuStray | None:
    """The stray that a process is, or None. vms: without links."""
    process = _PROC / number
    with suppress(OSError):
        if _user_of(process) != os.geteuid() or not os.path.samefile(process / "root", "/"):
            return None  # another user's, or a container's: its paths mean other files
        name = _vm_of(_words(process / "cmdline"))
        cwd, origin = os.readlink(process / "cwd"), _origin(process)
        if name is None or str(vms) not in (os.path.dirname(cwd), os.path.dirname(origin)):
            return None
        if (lost := _lost(Path(cwd), name, vms)) is not None:
            # Field 22 of proc_pid_stat(5); the program's name, in parentheses, may have spaces.
            started = (process / "stat").read_text().rpartition(")")[2].split()[19]
            moved = cwd if lost == _MOVED and not cwd.endswith(_DELETED) else None
            return QemuStray(name, int(number), lost, moved, _deleted_disk(process), started, vms)
    return None


def _user_of(process: Path) -> int:
    """Whose a process is. Not by the owner of its files: root's are those of all that are not dumpable, too."""
    fields = dict(line.partition(":\t")[::2] for line in (process / "status").read_text().splitlines())
    return int(fields["Uid"].split()[1])


_MOVED = "its directory was moved to {place}"


def _lost(cwd: Path, name: str, vms: Path) -> str | None:
    """What a QEMU that works in a directory has lost; None: nothing, its VM finds it."""
    if cwd.name.endswith(_DELETED) and not cwd.exists():
        return "its directory {home} was deleted"
    if cwd.parent.name != vms.name or cwd.name not in (name, PREPARING + name, LEAVING + name):
        return _MOVED
    files = QemuFiles(cwd)
    if lock_owner(files.pid) is None and not os.path.lexists(files.pid):
        return "its pid file {home}/pid was deleted"
    if not any(os.path.lexists(path) for path in (files.record, files.record_backup, files.journal)):
        return "its record {home}/vm.json was deleted"
    return None


def _vm_of(words: list[str]) -> str | None:
    """The VM's name on a command line that vmctl made."""
    options = dict(pairwise(words))
    name = options.get("-name", "").removeprefix("guest=")
    return name if options.get("-pidfile") == str(NAMES.pid) and is_vm_name(name) else None


def _origin(process: Path) -> str:
    with suppress(OSError):
        entries = dict(word.partition("=")[::2] for word in _words(process / "environ"))
        return entries.get(HOME_VARIABLE, "")
    return ""


def _words(path: Path) -> list[str]:
    return os.fsdecode(path.read_bytes()).split("\0")


def _deleted_disk(process: Path) -> str | None:
    """Where the disk can still be read that was deleted."""
    for descriptor in os.listdir(process / "fd"):
        with suppress(OSError):
            path = process / "fd" / descriptor
            if os.readlink(path).endswith(f"/{NAMES.overlay}{_DELETED}") and path.stat().st_nlink == 0:
                return str(path)
    return None
