"""A machine's state on disk: saved while QEMU lives, and loaded by another QEMU later.

The order of the steps is what keeps a state from being used twice, or lost. It belongs to the disk as it is at that moment;
loaded again after the vCPUs have run on, the guest's memory and its disk would contradict each other, and the file systems in
it would be destroyed. So:

- The file stands under its name exactly while that machine's vCPUs have not run since. It gets the name when it is complete
  and flushed, before QEMU ends; from then on that QEMU is never let run again. It loses the name, and that is flushed, when it
  has been loaded, before the new QEMU's vCPUs run.
- So whoever finds the file and a living QEMU has found what a killed command left: that QEMU may be ended without loss.
- A host that dies in the instant between the last two steps loses the memory, as if its power had failed a moment later;
  the disk is whole. The other order could destroy it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedRandom, BufferedReader

from vm_manager.backends.qemu.agent import correct_clock
from vm_manager.backends.qemu.evidence import qemu_log
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.launch import Composed, Keep, compose_as_before, launch, require_accelerator
from vm_manager.backends.qemu.migration import (
    EVENT,
    INCOMING,
    abandon_migration,
    announce,
    follow_incoming,
    follow_outgoing,
    receive_state,
    send_state,
    undoing,
)
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.needs import (
    Needs,
    read_needs,
    require_same_command_line,
    require_same_version,
    write_needs,
)
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.process import process_handle, wait_for_exit
from vm_manager.backends.qemu.section import QemuData
from vm_manager.backends.qemu.shutdown import end_at_once, ended_on_failure, make_exit
from vm_manager.backends.qemu.state_size import require_room
from vm_manager.diagnostics.errors import (
    KvmUnusable,
    MigrationFailed,
    QemuExited,
    QmpCommandFailed,
    QmpConnectFailed,
)
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import EventSink, Progressed
from vm_manager.domain.instance import InstanceRecord
from vm_manager.host.disk_space import raise_if_full
from vm_manager.state.files import private, sync_directory, written_bytes

_EXIT_S = 5.0


def save(record: InstanceRecord, files: QemuFiles, cancel: CancelToken, emit: EventSink) -> None:
    """Save the machine and end its QEMU; see `Backend.save`. Raises: `qemu::exited`, and what is said there."""
    with process_handle(files) as handle:
        try:
            with Monitor(files.home) as monitor:
                require_room(record, files, files.saved_state)
                was_running = _stand_still(monitor)
                with undoing(partial(_as_before, monitor, files, was_running)):
                    _write(monitor, record, files, cancel, emit)
        except QmpConnectFailed as error:
            if handle is not None and wait_for_exit(handle, Deadline(_EXIT_S)):
                raise QemuExited("QEMU exited while its state was being saved", evidence=qemu_log(files)) from error
            raise
        if handle is not None:
            make_exit(files.home, record.name, handle, emit)


def restore(record: InstanceRecord, files: QemuFiles, cancel: CancelToken, emit: EventSink, keep: Keep) -> QemuData:
    """Go on from the saved state; see `Backend.restore`."""
    try:
        needs = read_needs(files)
        composed = compose_as_before(record, files)
        require_same_command_line(needs, composed.argv)
    except MigrationFailed as error:
        raise _otherwise(record.name, error) from error.__cause__
    try:
        require_accelerator(record)
    except KvmUnusable as gone:
        # No word of booting without it: where KVM comes back, nothing is lost.
        raise MigrationFailed(
            "the state was saved under KVM, which does not work now",
            help=(f"the saved state is kept: once KVM works, go on with `vmctl resume {record.name}`",),
        ) from gone
    try:
        return _load(record, files, needs, composed, cancel, emit, keep)
    except MigrationFailed as error:
        raise _otherwise(record.name, error) from error.__cause__


def _otherwise(name: str, error: MigrationFailed) -> MigrationFailed:
    """With what can be done about a state that does not load."""
    return error.enrich(
        help=(
            f"the saved state is kept: fix the cause quoted above, then `vmctl resume {name}`",
            f"to boot without it: `vmctl start {name} --discard-saved-state`",
        )
    )


def _stand_still(monitor: Monitor) -> bool:
    """Stop the vCPUs; whether they ran."""
    abandon_migration(monitor)
    state = monitor.run_state()
    if state == "postmigrate":
        # A save that was killed at its very end: QEMU migrates again only after it has run.
        monitor.execute("cont")
    monitor.execute("stop")
    return state == "running"


def _as_before(monitor: Monitor, files: QemuFiles, was_running: bool) -> None:
    """Let the machine be as it was, with nothing saved."""
    with os_errors(files.saved_state):
        # If this fails the machine must not run on: there would be a state that it has left behind.
        for path in (files.saved_state, files.saved_state_part, files.saved_state_needs):
            path.unlink(missing_ok=True)
    abandon_migration(monitor)
    if was_running:
        monitor.execute("cont")


def _write(monitor: Monitor, record: InstanceRecord, files: QemuFiles, cancel: CancelToken, emit: EventSink) -> None:
    with os_errors(files.saved_state), open(files.saved_state_part, "w+b", opener=private) as file:
        announce(monitor)
        moved = lambda current, total: emit(Progressed(record.name, "save", current, total, "bytes"))  # noqa: E731
        with monitor.listening(EVENT) as next_event, _named(files):
            send_state(monitor, file.fileno())
            follow_outgoing(monitor, next_event, cancel, moved)
        os.fsync(file.fileno())
        needs = Needs.of_running(monitor, lock_owner(files.pid), *_measure(file))
        write_needs(files, needs)
        cancel.raise_if_cancelled()
        files.saved_state_part.rename(files.saved_state)
        sync_directory(files.home)


@contextmanager
def _named(files: QemuFiles) -> Iterator[None]:
    """Probe what is behind a failure. Raises: `host::disk_full`."""
    try:
        yield
    except MigrationFailed as failure:
        if not failure.diagnostic.evidence:
            failure.enrich(evidence=qemu_log(files))
        then = ("the VM is unchanged: save it again once there is space",)
        raise_if_full(files.saved_state, failure, then=then)
        raise


def _load(
    record: InstanceRecord,
    files: QemuFiles,
    needs: Needs,
    composed: Composed,
    cancel: CancelToken,
    emit: EventSink,
    keep: Keep,
) -> QemuData:
    data = launch(record, files, cancel, keep, composed=composed, waiting=INCOMING)
    with ended_on_failure(files.home), process_handle(files) as handle, Monitor(files.home) as monitor:
        require_same_version(needs, monitor)
        with os_errors(files.saved_state), files.saved_state.open("rb") as file:
            assert handle is not None, "it has just answered"
            _read(monitor, record, file, handle, files, cancel, emit)
            if _measure(file) != (needs.size_bytes, needs.sha256):
                raise MigrationFailed("the saved state differs from what was written", evidence=qemu_log(files))
        _run_on(monitor, files)
        correct_clock(files.home, monitor)
    return data


def _read(
    monitor: Monitor,
    record: InstanceRecord,
    file: BufferedRandom | BufferedReader,
    handle: int,
    files: QemuFiles,
    cancel: CancelToken,
    emit: EventSink,
) -> None:
    total = os.fstat(file.fileno()).st_size
    # QEMU's descriptor is a copy of ours and shares its position.
    position = partial(os.lseek, file.fileno(), 0, os.SEEK_CUR)
    moved = lambda current, _: emit(Progressed(record.name, "restore", current, total, "bytes"))  # noqa: E731
    try:
        announce(monitor)
        with monitor.listening(EVENT) as next_event:
            receive_state(monitor, file.fileno())
            follow_incoming(monitor, next_event, files.home, handle, cancel, position, moved)
    except (MigrationFailed, QmpConnectFailed) as error:
        wait_for_exit(handle, Deadline(_EXIT_S))
        if isinstance(error, MigrationFailed):
            raise error.enrich(evidence=qemu_log(files)) from error.__cause__
        raise MigrationFailed("QEMU could not load the saved state", evidence=qemu_log(files)) from error


def _run_on(monitor: Monitor, files: QemuFiles) -> None:
    """Use the state up, then let the vCPUs run: in this order, see above."""
    with os_errors(files.saved_state):
        files.saved_state.rename(files.saved_state_used)
        try:
            sync_directory(files.home)
            monitor.execute("cont")
        except (OSError, QmpCommandFailed):
            # QEMU has said no: nothing has run.
            files.saved_state_used.rename(files.saved_state)
            raise
        files.saved_state_used.unlink()
        files.saved_state_needs.unlink(missing_ok=True)


def end_leftover(files: QemuFiles) -> tuple[str, ...]:
    """End a QEMU whose state is on disk: what a killed command left; says so."""
    if not files.saved_state.exists() or lock_owner(files.pid) is None:
        return ()
    end_at_once(files.home)
    return ("killed a QEMU process that an interrupted command had left next to the saved state",)


def discard(files: QemuFiles) -> int:
    """Remove the saved state of a machine. Returns its size in bytes. Idempotent. Raises: `host::permission_denied`, `io`."""
    with os_errors(files.saved_state):
        size = written_bytes(files.saved_state)
        files.saved_state.unlink(missing_ok=True)
        # The VM is about to be booted: after a power cut the state must not be there again.
        sync_directory(files.home)
        files.saved_state_needs.unlink(missing_ok=True)
    return size


def _measure(file: BufferedRandom | BufferedReader) -> tuple[int, str]:
    """The size and the SHA-256 of a state: a page of memory carries no checksum of its own."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return os.fstat(file.fileno()).st_size, digest
