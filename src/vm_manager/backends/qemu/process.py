"""QEMU as a process: started, held on to, ended."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vm_manager.backends.qemu.files import HOME_VARIABLE, QemuFiles
from vm_manager.backends.qemu.history import read_history
from vm_manager.backends.qemu.log_keeper import keeper_command
from vm_manager.backends.qemu.pid_file import is_held, lock_owner
from vm_manager.backends.qemu.sockets import SOCKETS, remove_share_sockets
from vm_manager.diagnostics.errors import PermissionDenied
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.owners import user_name
from vm_manager.host.environment import clean_environment
from vm_manager.host.sandbox import Sandbox
from vm_manager.host.sandbox import spawn as start_program
from vm_manager.state.files import private

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_SETTLE_S = 30.0
_SETTLE_POLL_S = 0.02


def spawn(
    argv: Sequence[str], files: QemuFiles, sandbox: Sandbox, *, descriptors: Iterable[int] = ()
) -> subprocess.Popen[bytes]:
    """Start QEMU in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    descriptors: what it inherits: those that its command line names, and those whose other ends tell when it has ended.
    Its output goes to qemu.log from the first byte: -daemonize would throw away what it says after it forked.
    Raises: `host::no_sandbox`, `OSError`.
    """
    _log.info("$ %s", shlex.join(argv))
    # There before QEMU: its sandbox grants files that are there.
    files.pid.unlink(missing_ok=True)
    os.close(private(str(files.pid), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with open(files.qemu_log, "ab", opener=private) as log, _life_line(files) as life_line:
        return start_program(
            argv,
            sandbox,
            cwd=files.home,
            env={**clean_environment(), HOME_VARIABLE: str(files.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[life_line, *descriptors],
            start_new_session=True,
            umask=0o077,  # QEMU makes its sockets and logs under it
        )


def spawn_keeper(
    child: subprocess.Popen[bytes], files: QemuFiles, networks: Iterable[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the keeper of the logs of a QEMU that is our child.

    networks: the directories of the private networks that it is on, seen from the VM's. Raises: `OSError`.
    """
    # A new file: the keeper of the run before may still be about to write.
    files.end.unlink(missing_ok=True)
    end = private(str(files.end), os.O_WRONLY | os.O_CREAT)
    handle = os.pidfd_open(child.pid)
    try:
        return subprocess.Popen(
            keeper_command(handle, end, [log.name for log in files.machine_logs], [*networks]),
            cwd=files.home,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(handle, end),
        )
    finally:
        os.close(handle)
        os.close(end)


@contextmanager
def _life_line(files: QemuFiles) -> Iterator[int]:
    """A locked descriptor for QEMU to inherit: the lock lasts exactly as long as that process, from its fork on.

    The lock on the pid file comes some time later; should vmctl be killed in between, this one tells that somebody is there.
    """
    with open(files.life_line, "wb", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.fileno()


def settle(files: QemuFiles) -> None:
    """Wait until a QEMU that a killed vmctl had just started holds its pid file, or has ended. Mostly returns at once."""
    ends = time.monotonic() + _SETTLE_S
    while lock_owner(files.pid) is None and is_held(files.life_line) and time.monotonic() < ends:
        time.sleep(_SETTLE_POLL_S)


def clear_leftovers(files: QemuFiles) -> tuple[str, ...]:
    """Remove the pid file and the sockets of a QEMU that is gone; says so when it had not done that itself.

    Raises: `host::permission_denied`, `io`.
    """
    settle(files)
    if lock_owner(files.pid) is not None:
        return ()
    # A QEMU that exits by itself removes its pid file and all sockets but VNC's. Where its directory has got another name since,
    # after a move, it does not find the pid file.
    killed = _was_held(files.pid) and read_history(files.events_log).ended is None
    with os_errors(files.home):
        for path in (files.pid, *(files.home / name for name in SOCKETS)):
            path.unlink(missing_ok=True)
        remove_share_sockets(files.home)
    return ("QEMU exited without cleaning up: removed its pid file and sockets",) if killed else ()


def _was_held(pid_file: Path) -> bool:
    """Whether a QEMU has written it: it is made before QEMU is."""
    try:
        return pid_file.stat().st_size > 0
    except FileNotFoundError:
        return False


@contextmanager
def process_handle(files: QemuFiles) -> Iterator[int | None]:
    """A pidfd_open(2) descriptor of the running QEMU, or None: it keeps meaning that process, whatever pids are reused."""
    settle(files)
    pid = lock_owner(files.pid)
    try:
        descriptor = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        descriptor = None
    try:
        # Between reading the pid and opening it the process may have been replaced: the lock tells.
        yield descriptor if descriptor is not None and lock_owner(files.pid) == pid else None
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
    """Send a signal to the process behind the handle, if it still lives.

    Raises: `host::permission_denied` when it runs as another user, as after `sudo vmctl up` and `chown`.
    """
    try:
        signal.pidfd_send_signal(handle, signal_number)
    except ProcessLookupError:
        _log.debug("the process had already exited")
    except PermissionError:
        pid = _pid_of(handle)
        with suppress(FileNotFoundError):  # it has ended by itself meanwhile
            owner = user_name(Path(f"/proc/{pid}").stat().st_uid)
            raise PermissionDenied(
                "QEMU (process {pid}) runs as {owner}: {caller} may not stop it",
                {"pid": pid, "owner": owner, "caller": user_name(os.geteuid())},
                help=(f"as {owner}, run this command again or `kill {pid}`",),
            ) from None


def _pid_of(handle: int) -> int:
    """Of a pidfd; -1 once the process is gone. Source: pidfd_open(2), the `Pid` of proc_pid_fdinfo(5)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines())
    return int(fields["Pid"])
