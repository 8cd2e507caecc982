"""The QEMU backend: guests on q35 with virtio devices, under KVM or TCG.

Looking at a VM must be quick; what starts, stops and talks to QEMU is imported when it is needed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.section import QemuData
from vm_manager.domain.backend import BackendData, Capabilities
from vm_manager.domain.instance import Acceleration, Confinement, Endpoint, Observation, SandboxKind, Vitals, VmState
from vm_manager.domain.spec import Accelerator, NetworkMode
from vm_manager.state.layout import InstanceFiles

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_manager.backends.qemu.launch import Keep
    from vm_manager.diagnostics.errors import HostError, KvmUnusable
    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import BaseImage, Execution, Incident, InstanceRecord, Snapshot
    from vm_manager.domain.spec import VmSpec

_LOOPBACK = "127.0.0.1"
_NETWORKS = frozenset({NetworkMode.USER, NetworkMode.TAP, NetworkMode.NONE})  # VNICs are illumos's
_BOOT_TIMEOUT_S = {Accelerator.KVM: 600, Accelerator.TCG: 1800}
_STALL_LIMIT_S = {Accelerator.KVM: 120, Accelerator.TCG: 300}
# RunStates of QEMU's QAPI in which the vCPUs do not run, and what vmctl calls the instance then.
_STATES = {
    "paused": VmState.SUSPENDED,
    "suspended": VmState.SUSPENDED,
    "postmigrate": VmState.SUSPENDED,
    "finish-migrate": VmState.SUSPENDED,
    "inmigrate": VmState.SUSPENDED,
    "prelaunch": VmState.SUSPENDED,
    "restore-vm": VmState.SUSPENDED,
    "save-vm": VmState.SUSPENDED,
    "guest-panicked": VmState.FAILED,
    "io-error": VmState.FAILED,
    "internal-error": VmState.FAILED,
    "watchdog": VmState.FAILED,
    "debug": VmState.FAILED,
    "colo": VmState.FAILED,
}
_EMULATED = "guests are emulated in software (TCG): slower, otherwise the same"


class QemuBackend:
    """See `Backend` for the contract of each method."""

    name = "qemu"

    def __init__(self) -> None:
        # QEMUs that this process has started: their exit status is known to their parent only.
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._keepers: dict[Path, subprocess.Popen[bytes]] = {}
        # Why VMs are emulated is told once, however many there are.
        self._told: set[str] = set()

    def capabilities(self) -> Capabilities:
        return Capabilities(guests=True, networks=_NETWORKS, mounts=True)

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        from vm_manager.backends.qemu.launch import accelerator_findings
        from vm_manager.host.qemu_img import require_qemu_img
        from vm_manager.host.sandbox import sandbox_finding

        unconfined = sandbox_finding()
        findings = (*accelerator_findings(specs), *((unconfined,) if unconfined else ()))
        require_qemu_img()
        return tuple(warning for finding in findings for warning in self._once(finding))

    def _once(self, finding: HostError) -> Iterator[Diagnostic]:
        """The finding as a warning, unless it has been told."""
        from vm_manager.diagnostics.errors import KvmUnusable

        if str(finding) not in self._told:
            self._told.add(str(finding))
            notes = (_EMULATED,) if isinstance(finding, KvmUnusable) else ()
            yield finding.enrich(notes=notes).as_warning()

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        from vm_manager.backends.qemu.disks import new_identity, prepare_disks

        prepare_disks(spec, base, InstanceFiles(home))
        return new_identity().plain()

    def start(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        from vm_manager.backends.qemu.launch import start
        from vm_manager.domain.events import Warned

        def warn(finding: HostError) -> None:
            for warning in self._once(finding):
                emit(Warned(record.name, warning))

        return start(record, InstanceFiles(home), cancel, self._keeper(home), warn).plain()

    def acceleration(self, record: InstanceRecord) -> Acceleration | None:
        # For every line of `list`, also where the section is damaged.
        word, reason = record.backend_data.get("accelerator"), record.backend_data.get("accelerator_reason")
        known = next((accelerator for accelerator in Accelerator if accelerator == word), None)
        return Acceleration(known, reason if isinstance(reason, str) else "") if known else None

    def confinement(self, record: InstanceRecord) -> Confinement | None:
        # As above, for every line of `list`.
        word, reason = record.backend_data.get("sandbox"), record.backend_data.get("sandbox_reason")
        known = next((kind for kind in SandboxKind if kind == word), None)
        return Confinement(known, reason if isinstance(reason, str) else "") if known else None

    def distrust(self, record: InstanceRecord, finding: KvmUnusable) -> None:
        from vm_manager.backends.qemu.launch import distrust_kvm

        distrust_kvm(record, finding)

    def stop(self, name: str, home: Path, deadline: Deadline, emit: EventSink) -> None:
        from vm_manager.backends.qemu.shutdown import shut_down

        shut_down(home, name, deadline, emit)
        self._reap(home)

    def suspend(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(home) as monitor:
            monitor.execute("stop")

    def resume(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.agent import correct_clock
        from vm_manager.backends.qemu.migration import abandon_migration
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(home) as monitor:
            abandon_migration(monitor)
            monitor.execute("cont")
            correct_clock(home, monitor)

    def save(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> None:
        from vm_manager.backends.qemu.saved_state import save

        save(record, InstanceFiles(home), cancel, emit)
        self._reap(home)

    def restore(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        from vm_manager.backends.qemu.saved_state import restore

        with self._reaping(home):
            return restore(record, InstanceFiles(home), cancel, emit, self._keeper(home)).plain()

    def migrate(
        self,
        record: InstanceRecord,
        home: Path,
        there: InstanceRecord,
        staging: Path,
        switch: Callable[[BackendData], AbstractContextManager[None]],
        cancel: CancelToken,
        emit: EventSink,
    ) -> None:
        from vm_manager.backends.qemu.disks import prepare_disks
        from vm_manager.backends.qemu.move import move

        files = InstanceFiles(staging)
        prepare_disks(there.spec, there.base_image, files)
        with self._reaping(staging):
            move(record, InstanceFiles(home), there, files, switch, cancel, emit, self._keeper(staging))

    def abandon_migration(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.monitor import Monitor
        from vm_manager.backends.qemu.move import stay

        if lock_owner(InstanceFiles(home).pid) is not None:
            with Monitor(home) as monitor:
                stay(monitor)

    def snapshots(self, record: InstanceRecord, home: Path) -> tuple[Snapshot, ...]:
        from vm_manager.backends.qemu.snapshots import snapshots

        return snapshots(InstanceFiles(home))

    def create_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        from vm_manager.backends.qemu.snapshots import create

        create(InstanceFiles(home), tag, cancel)

    def restore_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> BackendData:
        from vm_manager.backends.qemu.snapshots import restore

        with self._reaping(home):
            return restore(record, InstanceFiles(home), tag, cancel, self._keeper(home)).plain()

    def delete_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        from vm_manager.backends.qemu.snapshots import delete

        delete(InstanceFiles(home), tag, cancel)

    def check_section(self, record: InstanceRecord) -> None:
        QemuData.of(record)

    def destroy(self, home: Path) -> None:
        from vm_manager.backends.qemu.shutdown import end_at_once

        end_at_once(home)
        self._reap(home)

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        pid = lock_owner(InstanceFiles(home).pid)
        if pid is None and InstanceFiles(home).saved_state.exists():
            return Observation(VmState.SUSPENDED, saved=True, detail="saved to disk")
        if pid is None:
            return _off(record, home)

        from vm_manager.backends.qemu.query import ask

        answer = ask(home, record.spec.access.port)
        if answer is None:
            # A busy socket does not make a guest suspended: say what is certain.
            last_port = QemuData.of(record).ssh_port
            return Observation(VmState.RUNNING, True, pid, _endpoint(last_port), "its monitor does not answer")
        state = _STATES.get(answer.status, VmState.RUNNING)
        resumable = answer.status == "io-error"
        return Observation(state, True, pid, _endpoint(answer.ssh_port), answer.status, resumable)

    def heal(self, home: Path) -> tuple[str, ...]:
        from vm_manager.backends.qemu.process import clear_rests, settle

        files, told = InstanceFiles(home), tuple[str, ...]()
        if files.saved_state.exists():
            from vm_manager.backends.qemu.saved_state import end_leftover

            settle(files)
            told = end_leftover(files)
            self._reap(home)
        return (*told, *clear_rests(files))

    def require_alive(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.incidents import exited, living_incident

        files = InstanceFiles(home)
        if lock_owner(files.pid) is None:
            child = self._children.get(home)
            raise exited(record.name, files, child.wait() if child else None)
        if incident := living_incident(record.name, files):
            raise incident.error

    def incident(self, record: InstanceRecord, home: Path) -> Incident | None:
        from vm_manager.backends.qemu.incidents import ending, living_incident

        files = InstanceFiles(home)
        if lock_owner(files.pid) is not None:
            return living_incident(record.name, files)
        child = self._children.get(home)
        return ending(record.name, files, child.poll() if child else None) if record.progress.started else None

    def vitals(self, record: InstanceRecord, home: Path) -> Vitals | None:
        from vm_manager.backends.qemu.history import read_history
        from vm_manager.backends.qemu.query import disk_operations

        found = disk_operations(home)
        if found is None:
            return None
        operations, writes = found
        return Vitals(operations, read_history(InstanceFiles(home).events_log).resets, writes)

    def execution(self, record: InstanceRecord, home: Path) -> Execution | None:
        from vm_manager.backends.qemu.execution import execution_of
        from vm_manager.backends.qemu.query import registers

        return execution_of(registers(home) or "")

    def screen(self, record: InstanceRecord, home: Path) -> tuple[str, ...]:
        from vm_manager.backends.qemu.screen import read_screen

        return read_screen(home)

    def stall_limit_s(self, record: InstanceRecord) -> int:
        return _STALL_LIMIT_S[QemuData.of(record).accelerator or Accelerator.TCG]

    def boot_timeout_s(self, record: InstanceRecord) -> int:
        return _BOOT_TIMEOUT_S[QemuData.of(record).accelerator or Accelerator.TCG]

    def connect_console(self, record: InstanceRecord, home: Path) -> socket.socket:
        from vm_manager.backends.qemu.console import connect_console

        return connect_console(record.name, home)

    def evidence(self, record: InstanceRecord, home: Path) -> tuple[Evidence, ...]:
        from vm_manager.backends.qemu.incidents import log_evidence

        return log_evidence(InstanceFiles(home))

    def _keeper(self, home: Path) -> Keep:
        def keep(child: subprocess.Popen[bytes], keeper: subprocess.Popen[bytes]) -> None:
            self._children[home], self._keepers[home] = child, keeper

        return keep

    @contextmanager
    def _reaping(self, home: Path) -> Iterator[None]:
        """After a failure, take leave of a QEMU that has ended with it."""
        try:
            yield
        except BaseException:
            child = self._children.get(home)
            if child is not None and child.poll() is not None:
                del self._children[home]
            raise

    def _reap(self, home: Path) -> None:
        for children in (self._children, self._keepers):
            child = children.pop(home, None)
            if child is not None:
                child.wait()


def factory() -> QemuBackend:
    """The backend, for the registry."""
    return QemuBackend()


def _off(record: InstanceRecord, home: Path) -> Observation:
    if not record.progress.started:
        return Observation(VmState.PREPARED)
    from vm_manager.backends.qemu.history import own_end

    return Observation(VmState.STOPPED, detail=own_end(InstanceFiles(home).events_log))


def _endpoint(port: int | None) -> Endpoint | None:
    return Endpoint(_LOOPBACK, port) if port else None
