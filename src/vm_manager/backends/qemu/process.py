"""QEMU as a process: started, identified, ended.

A running QEMU is identified by the lock it holds on its pid file, never by a bare pid: pids are reused, locks die with
their holder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import shlex
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vm_manager.domain.deadline import Deadline
from vm_manager.state.layout import InstanceFiles

_log = logging.getLogger(__name__)

# struct flock of fcntl(2) on 64-bit Linux.
_FLOCK = "@hhqqi4x"
_POLL_S = 0.1


def spawn(argv: Sequence[str], files: InstanceFiles) -> subprocess.Popen[bytes]:
    """Start QEMU in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    Its output goes to qemu.log from the first byte: -daemonize would throw away what it says after it forked.
    Raises: `OSError`.
    """
    _log.info("$ %s", shlex.join(argv))
    with open(files.qemu_log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as log:
        return subprocess.Popen(
            argv,
            cwd=files.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,  # QEMU makes its sockets and logs under it
        )


def lock_owner(pid_file: Path) -> int | None:
    """The process that holds QEMU's lock on its pid file, or None when none does. Source: F_GETLK in fcntl(2)."""
    try:
        descriptor = os.open(pid_file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    finally:
        os.close(descriptor)
    return int(pid) if kind != fcntl.F_UNLCK else None


@contextmanager
def process_handle(pid_file: Path) -> Iterator[int | None]:
    """A pidfd_open(2) descriptor of the running QEMU, or None: it keeps meaning that process, whatever pids are reused."""
    pid = lock_owner(pid_file)
    try:
        descriptor = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        descriptor = None
    try:
        # Between reading the pid and opening it the process may have been replaced: the lock tells.
        yield descriptor if descriptor is not None and lock_owner(pid_file) == pid else None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def wait_for_exit(handle: int, deadline: Deadline) -> bool:
    """Wait until the process has ended; False at the deadline. Raises: `vmctl::interrupted`."""
    while True:
        ready, _, _ = select.select([handle], [], [], deadline.within(_POLL_S))
        if ready:
            return True
        if deadline.expired:
            return False


def kill(handle: int, signal_number: signal.Signals) -> None:
    """Send a signal to the process behind the handle, if it still lives."""
    try:
        signal.pidfd_send_signal(handle, signal_number)
    except ProcessLookupError:
        _log.debug("the process had ended already")


@contextmanager
def socket_path(home: Path, name: str) -> Iterator[str]:
    """A path to a socket in `home` that fits into the 108 bytes of sun_path, however deep `home` lies. See unix(7)."""
    descriptor = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
