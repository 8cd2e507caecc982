"""One mutating command per VM at a time, by flock(2) on a file per VM name.

The kernel lets go of a lock when its holder dies, so no lock is ever stale. The file stays behind on purpose: removing a
lock file while another process opens it would let two holders in.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vm_manager.diagnostics.errors import StateLocked, StateUntrusted
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.owners import read_own
from vm_manager.state.files import make_dir, private

_POLL_S = 0.2
_HOLDER_BYTES = 4096
_HOLDER_LOOKS = 15
_HOLDER_PAUSE_S = 0.02


_WORKING = "is working on VM '{name}'"


@contextmanager
def locked(directory: Path, name: str, command: str, doing: str = _WORKING) -> Iterator[None]:
    """Hold the VM's lock. Never waits.

    command: what this process does, for whoever finds the lock held. doing: what a holder does, with `{name}` for the VM.
    Raises: `state::locked`, naming the holder's pid and command.
    """
    make_dir(directory)
    path = directory / f"{name}.lock"
    with os_errors(path):
        descriptor = private(str(path), os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(descriptor, name, doing) from None
        # Who holds it is a courtesy: a full disk must not keep anybody from the commands that free space.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "command": command}).encode(), 0)
        yield
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _held(descriptor: int, name: str, doing: str) -> StateLocked:
    subject = Subject(vm=name)
    found = _holder(descriptor)
    if found is None:
        return StateLocked(f"another command {doing}", {"name": name}, subject=subject, retryable=True)
    pid, command = found
    if _is_stopped(pid):
        return StateLocked(
            f"`{{command}}` (pid {{pid}}) {doing}, and is stopped",
            {"command": command, "pid": pid, "name": name},
            help=(f"let it continue: `kill -CONT {pid}`; or end it: `kill {pid}; kill -CONT {pid}`",),
            subject=subject,
        )
    return StateLocked(
        f"`{{command}}` (pid {{pid}}) {doing}",
        {"command": command, "pid": pid, "name": name},
        subject=subject,
        retryable=True,
    )


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal, such as that of Ctrl-Z. Source: proc(5), `/proc/PID/stat`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def holder(directory: Path, name: str) -> tuple[int, str] | None:
    """Pid and command of whoever holds the VM's lock, as far as it can be told without touching the lock."""
    try:
        return _parsed(read_own(directory / f"{name}.lock", _HOLDER_BYTES))
    except (OSError, StateUntrusted):
        return None


def _holder(descriptor: int) -> tuple[int, str] | None:
    """Pid and command of the holder, who writes them down a moment after it got the lock."""
    for _ in range(_HOLDER_LOOKS):
        found = _parsed(os.pread(descriptor, _HOLDER_BYTES, 0))
        if found:
            return found
        time.sleep(_HOLDER_PAUSE_S)
    return None


def _parsed(content: bytes) -> tuple[int, str] | None:
    try:
        written = json.loads(content)
        pid, command = int(written["pid"]), str(written["command"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # What a killed holder left behind names nobody.
    return (pid, command) if Path(f"/proc/{pid}").exists() else None


@contextmanager
def wait_locked(path: Path, cancel: CancelToken, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file, waiting for whoever has it.

    shared: together with others who want no more than that, and with nobody who wants it alone.
    Raises: `vmctl::interrupted`.
    """
    wanted = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with os_errors(path):
        descriptor = private(str(path), os.O_RDWR | os.O_CREAT)
    try:
        # flock(2) itself could not be ended by Ctrl-C from another thread.
        while True:
            try:
                fcntl.flock(descriptor, wanted | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                cancel.wait(_POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def if_unlocked(path: Path) -> Iterator[bool]:
    """Hold a lock file unless somebody else does; yields whether it is held. Never waits."""
    with os_errors(path):
        descriptor = private(str(path), os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
