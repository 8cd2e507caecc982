"""The QEMU backend: guests on q35 with virtio devices, under KVM or TCG.

Looking at a VM must be quick; what starts, stops and talks to QEMU is imported when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.section import QemuData
from vm_manager.domain.backend import BackendData, Capabilities
from vm_manager.domain.instance import Endpoint, Observation, Vitals, VmState
from vm_manager.domain.spec import Accelerator, NetworkMode
from vm_manager.state.layout import InstanceFiles

if TYPE_CHECKING:
    import socket
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import BaseImage, Incident, InstanceRecord
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
    "guest-panicked": VmState.FAILED,
    "io-error": VmState.FAILED,
    "internal-error": VmState.FAILED,
}


class QemuBackend:
    """See `Backend` for the contract of each method."""

    name = "qemu"

    def __init__(self) -> None:
        # QEMUs that this process has started: their exit status is known to their parent only.
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._keepers: dict[Path, subprocess.Popen[bytes]] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(guests=True, networks=_NETWORKS, mounts=True)

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        from vm_manager.backends.qemu.launch import accelerator_warnings
        from vm_manager.host.qemu_img import require_qemu_img

        warnings = accelerator_warnings(specs)
        require_qemu_img()
        return warnings

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        from vm_manager.backends.qemu.disks import new_identity, prepare_disks

        prepare_disks(spec, base, InstanceFiles(home))
        return new_identity().plain()

    def start(self, record: InstanceRecord, home: Path, cancel: CancelToken) -> BackendData:
        from vm_manager.backends.qemu.launch import launch

        def keep(child: subprocess.Popen[bytes], keeper: subprocess.Popen[bytes]) -> None:
            self._children[home], self._keepers[home] = child, keeper

        return launch(record, InstanceFiles(home), cancel, keep).plain()

    def stop(self, record: InstanceRecord, home: Path, deadline: Deadline, emit: EventSink) -> None:
        from vm_manager.backends.qemu.shutdown import shut_down

        shut_down(home, record.name, deadline, emit)
        self._reap(home)

    def suspend(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(home) as monitor:
            monitor.execute("stop")

    def resume(self, record: InstanceRecord, home: Path) -> None:
        from vm_manager.backends.qemu.monitor import Monitor

        with Monitor(home) as monitor:
            monitor.execute("cont")

    def destroy(self, home: Path) -> None:
        from vm_manager.backends.qemu.shutdown import end_at_once

        end_at_once(home)
        self._reap(home)

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        pid = lock_owner(InstanceFiles(home).pid)
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
        from vm_manager.backends.qemu.process import clear_rests

        return clear_rests(InstanceFiles(home))

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

        operations = disk_operations(home)
        if operations is None:
            return None
        return Vitals(operations, read_history(InstanceFiles(home).events_log).resets)

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
