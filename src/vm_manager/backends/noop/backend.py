"""A backend without machines: instances have records and states, and nothing runs. For tests and for trying out VMFiles."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vm_manager.diagnostics.errors import QemuExited, QmpConnectFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.capabilities import BackendData, Capabilities, Feature
from vm_manager.domain.instance import Observation, Snapshot, Vitals, VmState
from vm_manager.domain.machine import lacking
from vm_manager.domain.network import NetworkMode
from vm_manager.state.files import write_atomically, write_private, written_bytes
from vm_manager.state.layout import InstanceFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from vm_manager.diagnostics.errors import KvmUnusable
    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import (
        Acceleration,
        BaseImage,
        Confinement,
        Endpoint,
        Execution,
        Incident,
        InstanceRecord,
    )
    from vm_manager.domain.machine import Migration, Stray
    from vm_manager.domain.spec import VmSpec

_RUNS, _PAUSED = b"running\n", b"paused\n"


class NoopBackend:
    """See `Backend` for the contract of each method. A file in the VM's directory stands for the running machine."""

    name = "noop"

    def capabilities(self) -> Capabilities:
        features = frozenset({Feature.SUSPEND, Feature.SAVED_STATE, Feature.SNAPSHOTS})
        return Capabilities(guests=False, networks=frozenset(NetworkMode), mounts=False, features=features)

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        return ()

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        return {"version": 1}

    def machine(self, record: InstanceRecord, home: Path) -> _Machine:
        return _Machine(record, home)

    def remnant(self, name: str, home: Path) -> _Remnant:
        return _Remnant(home)

    def strays(self, vms: Path) -> tuple[Stray, ...]:
        return ()

    def close(self) -> None:
        return


class _Remnant:
    def __init__(self, home: Path) -> None:
        self._home, self._running = home, home / "machine"

    def is_alive(self) -> bool:
        return self._running.exists()

    def stop(self, deadline: Deadline, emit: EventSink) -> None:
        self.destroy()

    def destroy(self) -> None:
        with os_errors(self._home):
            self._running.unlink(missing_ok=True)

    def heal(self) -> tuple[str, ...]:
        return ()

    def logs(self) -> dict[str, Path]:
        return {}


class _Machine(_Remnant):
    def __init__(self, record: InstanceRecord, home: Path) -> None:
        super().__init__(home)
        self._record = record

    def placed(self) -> None:
        return

    def start(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        with os_errors(self._home):
            write_private(self._running, _RUNS)
        return self._record.backend_data

    def suspend(self) -> None:
        self._set(_PAUSED)

    def resume(self) -> None:
        self._set(_RUNS)

    def reset(self) -> None:
        self._set(_RUNS)

    def _set(self, content: bytes) -> None:
        if not self._running.exists():
            raise QmpConnectFailed("there is no machine")
        write_atomically(self._running, content)

    def observe(self) -> Observation:
        try:
            paused = self._running.read_bytes() == _PAUSED
        except OSError:
            if InstanceFiles(self._home).saved_state.exists():
                return Observation(VmState.SUSPENDED, saved=True, detail="saved to disk")
            return Observation(VmState.STOPPED if self._record.progress.started else VmState.PREPARED)
        return Observation(VmState.SUSPENDED if paused else VmState.RUNNING, alive=True)

    def locate(self) -> tuple[Endpoint | None, tuple[Evidence, ...]]:
        return None, ()

    def macs(self) -> tuple[str, ...]:
        return tuple(card.mac or "" for card in self._record.spec.networks)

    def require_answer(self) -> None:
        return

    def require_alive(self) -> None:
        if not self._running.exists():
            raise QemuExited("the machine is gone")

    def incident(self) -> Incident | None:
        return None

    def vitals(self) -> Vitals | None:
        return Vitals(0, 0) if self._running.exists() else None

    def restarts(self) -> int:
        return 0

    def execution(self) -> Execution | None:
        return None

    def screen(self) -> tuple[str, ...]:
        return ()

    def evidence(self) -> tuple[Evidence, ...]:
        return ()

    def share_type(self) -> None:
        return None

    def drives(self) -> Mapping[str, int]:
        return {drive.name: drive.size_bytes for drive in self._record.spec.drives}

    def acceleration(self) -> Acceleration | None:
        return None

    def confinement(self) -> Confinement | None:
        return None

    def distrust(self, finding: KvmUnusable) -> None:
        return

    def stall_limit_s(self) -> int:
        return 1

    def boot_timeout_s(self) -> int:
        return 1

    def check_section(self) -> None:
        return

    def saved_state(self) -> _SavedState:
        return _SavedState(self._record, self._home)

    def snapshots(self) -> _Snapshots:
        return _Snapshots(self._record, self._home)

    def migration(self) -> Migration:
        raise lacking(NoopBackend.name, Feature.MIGRATION)

    def connect_console(self) -> socket.socket:
        raise lacking(NoopBackend.name, Feature.CONSOLE)

    def picture(self) -> bytes:
        raise lacking(NoopBackend.name, Feature.SCREEN)

    def vnc_socket(self) -> Path:
        raise lacking(NoopBackend.name, Feature.SCREEN)


class _SavedState:
    def __init__(self, record: InstanceRecord, home: Path) -> None:
        self._record, self._running, self._saved = record, home / "machine", InstanceFiles(home).saved_state

    def save(self, cancel: CancelToken, emit: EventSink) -> int:
        if not self._running.exists():
            raise QmpConnectFailed("there is no machine")
        with os_errors(self._saved):
            self._running.rename(self._saved)
            return written_bytes(self._saved)

    def restore(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        with os_errors(self._saved):
            self._saved.rename(self._running)
        write_atomically(self._running, _RUNS)
        return self._record.backend_data

    def discard(self) -> int:
        with os_errors(self._saved):
            size = written_bytes(self._saved)
            self._saved.unlink(missing_ok=True)
        return size


class _Snapshots:
    def __init__(self, record: InstanceRecord, home: Path) -> None:
        self._record, self._home, self._running = record, home, home / "machine"

    def all(self) -> tuple[Snapshot, ...]:
        with os_errors(self._home):
            kept = sorted(self._home.glob("snapshot-*"), key=lambda path: path.stat().st_mtime_ns)
            return tuple(
                Snapshot(
                    tag=path.name.removeprefix("snapshot-"),
                    created_at=datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
                    memory_bytes=path.stat().st_size,
                )
                for path in kept
            )

    def create(self, tag: str, cancel: CancelToken) -> None:
        with os_errors(self._home):
            write_atomically(self._file(tag), self._running.read_bytes() if self._running.exists() else b"")

    def restore(self, tag: str, cancel: CancelToken) -> BackendData:
        with os_errors(self._home):
            if self._file(tag).read_bytes():
                write_atomically(self._running, _RUNS)
        return self._record.backend_data

    def delete(self, tag: str, cancel: CancelToken) -> None:
        with os_errors(self._home):
            self._file(tag).unlink()

    def _file(self, tag: str) -> Path:
        return self._home / f"snapshot-{tag}"


def factory() -> NoopBackend:
    """The backend, for the registry."""
    return NoopBackend()
