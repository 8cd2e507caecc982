"""A running machine goes on in another QEMU on this host, which has disks of its own.

The other QEMU waits for it. First the disks are mirrored into it by NBD while the machine runs, then the memory follows; when
little of it is left (under TCG: before it begins) the vCPUs stop, the mirrors end in step with them, and the rest is moved. Both
QEMUs then hold the whole machine and neither runs it: the one moment at which it can be decided which of them does.
Sources: QEMU's QAPI, `blockdev-mirror`, `nbd-server-start`, `migrate` and the capability `pause-before-switchover`.

Nothing can come in between and nothing is found by its name: each connection is made here, and both QEMUs are given their ends.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from vm_manager.backends.qemu.answers import mappings
from vm_manager.backends.qemu.command import disk_nodes
from vm_manager.backends.qemu.disks import writable_disks
from vm_manager.backends.qemu.evidence import qemu_log, reason
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.forwards import take_over
from vm_manager.backends.qemu.jobs import JOB_EVENT, jobs
from vm_manager.backends.qemu.launch import Keep, compose_as_before, launch
from vm_manager.backends.qemu.migration import (
    EVENT,
    INCOMING,
    abandon_migration,
    announce,
    follow_outgoing,
    receive_state,
    send_state,
    undoing,
)
from vm_manager.backends.qemu.monitor import LOOK_EVERY_S, Monitor, NextEvent
from vm_manager.backends.qemu.needs import Needs, require_same_command_line
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.process import kill, process_handle, wait_for_exit
from vm_manager.backends.qemu.shutdown import ended_on_failure
from vm_manager.backends.qemu.sockets import socket_path
from vm_manager.backends.qemu.stall import Stall
from vm_manager.diagnostics.errors import (
    MigrationFailed,
    QemuExited,
    QmpCommandFailed,
    QmpConnectFailed,
)
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.capabilities import BackendData
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import EventSink, PhaseReached, Progressed, Warned
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.spec import Accelerator
from vm_manager.host.disk_space import raise_if_full, require_free
from vm_manager.host.ports import port_in_use
from vm_manager.state.files import written_bytes

# What the names of all that belongs to the mirrors begin with.
_JOB, _NODE, _DESCRIPTOR = "vmctl-move", "vmctl-there", "vmctl-disk"
_NBD_SOCKET = "move.sock"
_EXIT_S = 5.0
_FAILED = "QEMU could not move the machine"

Switch = Callable[[BackendData], AbstractContextManager[None]]


def move(
    record: InstanceRecord,
    files: QemuFiles,
    there: InstanceRecord,
    there_files: QemuFiles,
    switch: Switch,
    cancel: CancelToken,
    emit: EventSink,
    keep: Keep,
) -> None:
    """See `Backend.migrate`; the disks have been made in `there_files`, as large as here."""
    # What is measured outlives a failed move, unlike the directory that was made for it.
    needed = sum(map(written_bytes, writable_disks(record.spec, files).values()))
    require_free(there_files.overlay, needed, "the VM's disks take", directory=there_files.home.parent)
    with (
        process_handle(files) as here_handle,
        _named(files, there_files, here_handle),
        Monitor(files.home) as here,
        undoing(partial(stay, here)),  # by then the other QEMU has ended
    ):
        composed = compose_as_before(there, there_files, on_any_ports=True)
        require_same_command_line(Needs.of_running(here, lock_owner(files.pid), 0, ""), composed.argv)
        data = launch(there, there_files, cancel, keep, composed=composed, waiting=INCOMING)
        with (
            ended_on_failure(there_files.home),
            process_handle(there_files) as handle,
            Monitor(there_files.home) as waiting,
        ):
            assert handle is not None, "it has just answered"
            pair = _Pair(record.name, here, waiting, handle, cancel, emit)
            pair.copy_disks(disk_nodes(record.spec), there_files)
            # TCG now and then misses that a page was written, and the guest would go on with an old one. Seen with QEMU
            # 7.2 in one of six moves of a guest that writes all the time; kvm-unit-tests has a reproducer, too.
            pair.move_machine(running=data.accelerator is Accelerator.KVM)
            with switch(data.plain()):
                pair.run_there()
            for taken in take_over(there.spec, here, waiting):
                emit(Warned(record.name, port_in_use(taken).as_warning()))


def stay(monitor: Monitor) -> None:
    """Let a machine that was being moved run on here. Idempotent; the other QEMU must have ended, or not run it."""
    abandon_migration(monitor)
    _end_mirrors(monitor)
    if monitor.run_state() in ("paused", "finish-migrate", "postmigrate"):
        monitor.execute("cont")


class _Pair:
    """The QEMU that runs the machine, and the one that waits for it; handle: of that one's process."""

    def __init__(
        self, name: str, here: Monitor, there: Monitor, handle: int, cancel: CancelToken, emit: EventSink
    ) -> None:
        self._name, self._here, self._there, self._handle = name, here, there, handle
        self._cancel, self._emit = cancel, emit

    def copy_disks(self, nodes: Sequence[str], there_files: QemuFiles) -> None:
        """Mirror the disks, and return when each is like its copy; from then on what is written goes to both."""
        self._emit(PhaseReached(self._name, "disk", "its disks to be copied while the VM runs"))
        _end_mirrors(self._here)
        self._connect(len(nodes), there_files.home)
        server: dict[str, object] = {
            "addr": {"type": "fd", "data": {"str": _DESCRIPTOR}},
            "max-connections": len(nodes),
        }
        self._there.execute("nbd-server-start", server)
        for number, node in enumerate(nodes):
            export = {"type": "nbd", "id": f"{_JOB}-{number}", "node-name": node, "name": node, "writable": True}
            self._there.execute("block-export-add", export)
            client = {"type": "fd", "str": f"{_DESCRIPTOR}-{number}"}
            copy: dict[str, object] = {
                "driver": "nbd",
                "node-name": f"{_NODE}-{number}",
                "export": node,
                "server": client,
            }
            self._here.execute("blockdev-add", copy)
        with self._here.listening(JOB_EVENT) as next_event:
            for number, node in enumerate(nodes):
                job: dict[str, object] = {"job-id": f"{_JOB}-{number}", "device": node, "target": f"{_NODE}-{number}"}
                self._here.execute("blockdev-mirror", {**job, "sync": "top", "auto-dismiss": False})
            self._follow_mirrors(next_event, "ready", len(nodes))

    def _connect(self, number: int, home: Path) -> None:
        """Give each QEMU its ends of so many connections."""
        with ExitStack() as ends, os_errors(home):
            path = ends.enter_context(socket_path(home, _NBD_SOCKET))
            listener = ends.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen(number)
            for client_number in range(number):
                client = ends.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(path)
                self._here.send_descriptor(f"{_DESCRIPTOR}-{client_number}", client.fileno())
            (home / _NBD_SOCKET).unlink()
            self._there.send_descriptor(_DESCRIPTOR, listener.fileno())

    def move_machine(self, *, running: bool) -> None:
        """Move memory and devices; at the end both have everything, and neither runs. running: let it run meanwhile."""
        how = "while the VM runs" if running else "while the VM is paused, because KVM is not available"
        self._emit(PhaseReached(self._name, "memory", f"the memory to be moved {how}"))
        if not running:
            self._here.execute("stop")
        for monitor in (self._there, self._here):
            announce(monitor, live=True)
        with self._there.listening(EVENT) as arriving, self._here.listening(EVENT) as leaving:
            source, target = socket.socketpair()
            with source, target:
                receive_state(self._there, target.fileno())
                send_state(self._here, source.fileno())
            self._follow(leaving, "pre-switchover")
            # The vCPUs stand still: nothing is written any more, and the disks become alike for good.
            self._finish_mirrors()
            self._here.execute("migrate-continue", {"state": "pre-switchover"})
            self._follow(leaving, "completed")
            # Only devices are left: it answers meanwhile.
            follow_outgoing(self._there, arriving, self._cancel, lambda *_: None, failed=_FAILED)
        self._there.execute("nbd-server-stop")

    def run_there(self) -> None:
        """Let the vCPUs run; when that cannot be seen to have succeeded, they do not."""
        try:
            self._there.execute("cont")
        except BaseException:
            kill(self._handle, signal.SIGKILL)
            wait_for_exit(self._handle, Deadline(_EXIT_S))
            raise

    def _follow(self, next_event: NextEvent, until: str) -> None:
        follow_outgoing(self._here, next_event, self._cancel, self._moved, until=until, failed=_FAILED)

    def _finish_mirrors(self) -> None:
        with self._here.listening(JOB_EVENT) as next_event:
            mirrors = _mirrors(self._here)
            for job in mirrors:
                # Without force, a mirror that is ready ends as soon as both are alike; the guest's disk stays the one it was.
                self._here.execute("block-job-cancel", {"device": job["id"]})
            self._follow_mirrors(next_event, "concluded", len(mirrors))
        _end_mirrors(self._here)

    def _follow_mirrors(self, next_event: NextEvent, until: str, number: int) -> None:
        stall = Stall(self._cancel)
        while True:
            mirrors = _mirrors(self._here)
            failed = next((job["error"] for job in mirrors if job.get("error") is not None), None)
            if failed is not None:
                raise MigrationFailed("QEMU could not copy the disk", evidence=reason(failed))
            ended = [job for job in mirrors if job.get("status") == "concluded" != until]
            if ended or len(mirrors) < number:
                raise MigrationFailed("QEMU gave up copying the disk")
            if all(job.get("status") == until for job in mirrors):
                return
            current, total = (sum(_figure(job, f"{what}-progress") for job in mirrors) for what in ("current", "total"))
            self._moved(current, total)
            stall.look(([job.get("status") for job in mirrors], current))
            next_event(LOOK_EVERY_S)

    def _moved(self, current: int, total: int | None) -> None:
        self._emit(Progressed(self._name, "migrate", current, total, "bytes"))


def _mirrors(monitor: Monitor) -> list[Mapping[str, object]]:
    return [job for job in jobs(monitor) if str(job["id"]).startswith(_JOB)]


def _figure(job: Mapping[str, object], name: str) -> int:
    value = job.get(name)
    return value if isinstance(value, int) else 0


def _end_mirrors(monitor: Monitor) -> None:
    """Leave nothing of the mirrors, be they these or those that a killed command began."""
    deadline = Deadline(_EXIT_S)
    while (mirrors := _mirrors(monitor)) and not deadline.expired:
        for job in mirrors:
            if job.get("status") == "concluded":
                monitor.execute("job-dismiss", {"id": job["id"]})
            else:
                with suppress(QmpCommandFailed):  # it may just have ended by itself
                    monitor.execute("block-job-cancel", {"device": job["id"], "force": True})
        deadline.pause(0.05)
    for node in mappings(monitor.execute("query-named-block-nodes", {"flat": True})):
        if str(node.get("node-name")).startswith(_NODE):
            monitor.execute("blockdev-del", {"node-name": node["node-name"]})


@contextmanager
def _named(files: QemuFiles, there: QemuFiles, here_handle: int | None) -> Iterator[None]:
    """Probe what is behind a failure, and add what both QEMUs said. Raises: `qemu::exited`, `host::disk_full`."""
    try:
        yield
    except (MigrationFailed, QmpConnectFailed, QmpCommandFailed) as error:
        logs = _logs(files, there)
        if here_handle is None or wait_for_exit(here_handle, Deadline(0)):
            raise QemuExited("QEMU exited while the VM was being moved", evidence=logs) from error
        raise_if_full(there.overlay, error.enrich(evidence=logs))
        if isinstance(error, MigrationFailed):
            raise
        raise MigrationFailed(_FAILED, evidence=error.diagnostic.evidence, notes=error.diagnostic.notes) from error


def _logs(files: QemuFiles, there: QemuFiles) -> tuple[Evidence, ...]:
    # The other one's file is about to be removed.
    there_log = (replace(log, path=None) for log in qemu_log(there, "QEMU's log at the target"))
    return (*qemu_log(files, "QEMU's log at the source"), *there_log)
