"""Who runs a VM: told by the lock that QEMU holds on its pid file, never by a bare pid.

Pids are reused; locks die with their holder. Where somebody has deleted the pid file, it is the process in the VM's directory,
as long as the life line there is held.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.diagnostics.errors import StateUntrusted
from vm_manager.domain.owners import opened_own

# struct flock of fcntl(2) on 64-bit Linux.
_FLOCK = "@hhqqi4x"
# The kernel keeps the first 15 bytes of a program's name: TASK_COMM_LEN in <linux/sched.h>.
_PROGRAM = b"qemu-system"


def lock_owner(pid_file: Path) -> int | None:
    """The process that holds QEMU's lock on its pid file, or None when none does. Source: F_GETLK in fcntl(2)."""
    try:
        descriptor = os.open(pid_file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return qemu_in(pid_file.parent) if is_held(QemuFiles(pid_file.parent).life_line) else None
    except OSError:
        return None
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    finally:
        os.close(descriptor)
    return int(pid) if kind != fcntl.F_UNLCK else None


def is_held(path: Path) -> bool:
    """Whether a process holds the flock of a file. Raises: `OSError`."""
    try:
        with opened_own(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, StateUntrusted):
        return False
    except BlockingIOError:
        return True
    return False


def qemus() -> list[str]:
    """The pids of this user's QEMUs. A look at one small file for each process of the host: `vmctl list` does it, too."""
    return [number for number in os.listdir("/proc") if number.isdecimal() and _is_own_qemu(number)]


def qemu_in(home: Path) -> int | None:
    """The QEMU whose working directory this is."""
    return next((int(number) for number in qemus() if _works_in(number, home)), None)


def _is_own_qemu(number: str) -> bool:
    try:
        with open(f"/proc/{number}/comm", "rb", buffering=0) as file:
            return file.read(len(_PROGRAM)) == _PROGRAM and os.fstat(file.fileno()).st_uid == os.geteuid()
    except OSError:
        return False  # it has ended


def _works_in(number: str, home: Path) -> bool:
    try:
        return os.path.samefile(f"/proc/{number}/cwd", home)
    except OSError:
        return False
