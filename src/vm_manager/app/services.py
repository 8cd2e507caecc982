"""What every use case works with: the state, the backends, where events go and what ends every wait."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from vm_manager.backends.registry import load_backend
from vm_manager.diagnostics.errors import BackendNotAvailable, StateCorrupt, StateUntrusted, VmError, VmNotFound
from vm_manager.diagnostics.subject import Subject

if TYPE_CHECKING:
    from vm_manager.domain.backend import Backend
    from vm_manager.domain.deadline import CancelToken
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import BaseImage, InstanceRecord
    from vm_manager.domain.machine import Machine, Remnant
    from vm_manager.domain.platform import Platform
    from vm_manager.domain.spec import Accelerator, VmSpec
    from vm_manager.host.content import Digesting
    from vm_manager.state.store import InstanceStore


@dataclass
class Services:
    """store: the instances; backend_name: for new VMs; emit: receives all events; cancel: ends every wait.

    accelerator: for the machines that are started, whatever their specs say; None: as these say.
    max_image_bytes: how large an image may be, see `SizeLimits`; None: the usual limits.
    """

    store: InstanceStore
    backend_name: str
    emit: EventSink
    cancel: CancelToken
    accelerator: Accelerator | None = None
    max_image_bytes: int | None = None
    _backends: dict[str, Backend] = field(default_factory=dict, repr=False)
    _digests: dict[BaseImage, Digesting] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def backend(self, name: str | None = None) -> Backend:
        """A backend by name, or the one for new VMs. Raises: `backend::not_available`."""
        name = name or self.backend_name
        if name not in self._backends:
            self._backends[name] = load_backend(name)
        return self._backends[name]

    def digesting(self, base: BaseImage) -> Digesting:
        """The digest of an image on its way; it is computed once for all VMs that are made on it."""
        from vm_manager.host.content import Digesting

        with self._lock:
            if base not in self._digests:
                self._digests[base] = Digesting(Path(base.path))
            return self._digests[base]

    def close(self) -> None:
        """Close the backends, which open again when they are asked. Machines go on. Idempotent."""
        for backend in self._backends.values():
            backend.close()

    def machine(self, record: InstanceRecord) -> Machine:
        """The machine of a VM below this data directory. Raises: `backend::not_available`."""
        return self.backend(record.backend).machine(record, self.home(record.name))

    def remnant(self, name: str) -> Remnant:
        """What may still run of a VM, whether or not its record can be read; by the default backend when that is lost, too."""
        home = self.home(name)
        with suppress(BackendNotAvailable, StateCorrupt, StateUntrusted, VmNotFound):
            return self.backend(self.store.read(name).backend).remnant(name, home)
        last = self.store.read_backup(name)
        with suppress(BackendNotAvailable):
            return self.backend(last.backend if last else None).remnant(name, home)
        return self.backend().remnant(name, home)

    def to_start(self, spec: VmSpec) -> VmSpec:
        """A spec as a machine is started with it."""
        return replace(spec, accelerator=self.accelerator) if self.accelerator else spec

    def platform(self) -> Platform:
        """What new VMs run on. Raises: `backend::not_available`."""
        from vm_manager.domain.platform import Platform
        from vm_manager.host.facts import read_host_facts

        backend = self.backend()
        return Platform(
            host=read_host_facts(),
            backend=backend.name,
            capabilities=backend.capabilities(),
            disk_bytes=_disk_bytes,
        )

    def home(self, name: str) -> Path:
        """The directory of a VM."""
        return self.store.files(name).home

    def subject(self, name: str) -> Subject:
        """Whom a failure concerns: the VM, as far as its record can be read, and this data directory."""
        connection = str(self.store.data.root)
        try:
            record = self.store.read(name)
        except VmError:
            return Subject(vm=name, connection=connection)
        return Subject(vm=name, id=record.instance_id, backend=record.backend, connection=connection)


def _disk_bytes(image: Path) -> int | None:
    from vm_manager.host.image_header import read_header

    try:
        return read_header(image).virtual_size_bytes
    except (VmError, OSError, ValueError):
        return None  # what is wrong with it is told by who makes a VM of it
