"""A backend without machines: instances have records and states, and nothing runs. For tests and for trying out VMFiles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vm_manager.diagnostics.errors import BackendNotAvailable, QemuExited, QmpConnectFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.backend import BackendData, Capabilities
from vm_manager.domain.instance import Observation, Snapshot, Vitals, VmState
from vm_manager.domain.spec import NetworkMode
from vm_manager.state.files import write_atomically, write_private
from vm_manager.state.layout import InstanceFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_manager.diagnostics.errors import KvmUnusable
    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import Acceleration, BaseImage, Confinement, Execution, Incident, InstanceRecord
    from vm_manager.domain.spec import VmSpec

_RUNS, _PAUSED = b"running\n", b"paused\n"


class NoopBackend:
    """See `Backend` for the contract of each method. A file in the VM's directory stands for the running machine."""

    name = "noop"

    def capabilities(self) -> Capabilities:
        return Capabilities(guests=False, networks=frozenset(NetworkMode), mounts=False)

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        return ()

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        return {"version": 1}

    def start(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        with os_errors(home):
            write_private(_machine(home), _RUNS)
        return record.backend_data

    def acceleration(self, record: InstanceRecord) -> Acceleration | None:
        return None

    def confinement(self, record: InstanceRecord) -> Confinement | None:
        return None

    def distrust(self, record: InstanceRecord, finding: KvmUnusable) -> None:
        return

    def execution(self, record: InstanceRecord, home: Path) -> Execution | None:
        return None

    def stop(self, name: str, home: Path, deadline: Deadline, emit: EventSink) -> None:
        with os_errors(home):
            _machine(home).unlink(missing_ok=True)

    def suspend(self, record: InstanceRecord, home: Path) -> None:
        self._set(home, _PAUSED)

    def resume(self, record: InstanceRecord, home: Path) -> None:
        self._set(home, _RUNS)

    def save(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> None:
        if not _machine(home).exists():
            raise QmpConnectFailed("there is no machine")
        with os_errors(home):
            _machine(home).rename(InstanceFiles(home).saved_state)

    def restore(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        with os_errors(home):
            InstanceFiles(home).saved_state.rename(_machine(home))
        self._set(home, _RUNS)
        return record.backend_data

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
        raise BackendNotAvailable(
            "the {backend} backend has nothing that could be moved while it runs",
            {"backend": self.name},
            help=("a VM of the qemu backend has: `vmctl up --backend qemu` makes new VMs there",),
        )

    def abandon_migration(self, record: InstanceRecord, home: Path) -> None:
        return

    def snapshots(self, record: InstanceRecord, home: Path) -> tuple[Snapshot, ...]:
        with os_errors(home):
            kept = sorted(home.glob("snapshot-*"), key=lambda path: path.stat().st_mtime_ns)
            return tuple(
                Snapshot(
                    tag=path.name.removeprefix("snapshot-"),
                    created_at=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
                    memory_bytes=path.stat().st_size,
                )
                for path in kept
            )

    def create_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        machine = _machine(home)
        with os_errors(home):
            write_atomically(_snapshot(home, tag), machine.read_bytes() if machine.exists() else b"")

    def restore_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> BackendData:
        with os_errors(home):
            if _snapshot(home, tag).read_bytes():
                write_atomically(_machine(home), _RUNS)
        return record.backend_data

    def delete_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        with os_errors(home):
            _snapshot(home, tag).unlink()

    def _set(self, home: Path, content: bytes) -> None:
        if not _machine(home).exists():
            raise QmpConnectFailed("there is no machine")
        write_atomically(_machine(home), content)

    def check_section(self, record: InstanceRecord) -> None:
        return

    def destroy(self, home: Path) -> None:
        with os_errors(home):
            _machine(home).unlink(missing_ok=True)

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        try:
            paused = _machine(home).read_bytes() == _PAUSED
        except OSError:
            if InstanceFiles(home).saved_state.exists():
                return Observation(VmState.SUSPENDED, saved=True, detail="saved to disk")
            return Observation(VmState.STOPPED if record.progress.started else VmState.PREPARED)
        return Observation(VmState.SUSPENDED if paused else VmState.RUNNING, alive=True)

    def heal(self, home: Path) -> tuple[str, ...]:
        return ()

    def require_alive(self, record: InstanceRecord, home: Path) -> None:
        if not _machine(home).exists():
            raise QemuExited("the machine is gone")

    def incident(self, record: InstanceRecord, home: Path) -> Incident | None:
        return None

    def vitals(self, record: InstanceRecord, home: Path) -> Vitals | None:
        return Vitals(0, 0) if _machine(home).exists() else None

    def screen(self, record: InstanceRecord, home: Path) -> tuple[str, ...]:
        return ()

    def stall_limit_s(self, record: InstanceRecord) -> int:
        return 1

    def boot_timeout_s(self, record: InstanceRecord) -> int:
        return 1

    def connect_console(self, record: InstanceRecord, home: Path) -> socket.socket:
        raise BackendNotAvailable(
            "the {backend} backend has no console",
            {"backend": self.name},
            help=("a VM of the qemu backend has one: `vmctl up --backend qemu` makes new VMs there",),
        )

    def evidence(self, record: InstanceRecord, home: Path) -> tuple[Evidence, ...]:
        return ()


def factory() -> NoopBackend:
    """The backend, for the registry."""
    return NoopBackend()


def _snapshot(home: Path, tag: str) -> Path:
    return home / f"snapshot-{tag}"


def _machine(home: Path) -> Path:
    return home / "machine"
