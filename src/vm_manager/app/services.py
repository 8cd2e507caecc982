"""What every use case is handed: the state, the backends, where to tell what happens and what ends every wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vm_manager.backends.registry import load_backend
from vm_manager.diagnostics.errors import VmError, VmNotFound
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.instance import Instance, InstanceRecord, LastFailure, Observation, Progress, VmState
from vm_manager.state.journal import as_failure, is_end_explained, last_failure, record_incident
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

if TYPE_CHECKING:
    from vm_manager.domain.backend import Backend
    from vm_manager.domain.deadline import CancelToken
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.platform import Platform
    from vm_manager.domain.spec import Accelerator, VmSpec


@dataclass
class Services:
    """store: the instances; backend_name: for new VMs; emit: told everything; cancel: ends every wait.

    accelerator: for the machines that are started, whatever their specs say; None: as these say.
    max_image_bytes: how large an image may be, see `SizeLimits`; None: the usual limits.
    """

    store: InstanceStore
    backend_name: str
    emit: EventSink
    cancel: CancelToken
    accelerator: Accelerator | None = None
    max_image_bytes: int | None = None

    def __post_init__(self) -> None:
        self._backends: dict[str, Backend] = {}

    def backend(self, name: str | None = None) -> Backend:
        """A backend by name, or the one for new VMs. Raises: `backend::not_available`."""
        name = name or self.backend_name
        if name not in self._backends:
            self._backends[name] = load_backend(name)
        return self._backends[name]

    def to_start(self, spec: VmSpec) -> VmSpec:
        """A spec as a machine is started with it."""
        return replace(spec, accelerator=self.accelerator) if self.accelerator else spec

    def platform(self) -> Platform:
        """What new VMs run on. Raises: `backend::not_available`."""
        from vm_manager.domain.platform import Platform
        from vm_manager.host.facts import read_host_facts

        backend = self.backend()
        return Platform(host=read_host_facts(), backend=backend.name, capabilities=backend.capabilities())

    def at(self, root: Path) -> Services:
        """The same below another data directory."""
        return replace(self, store=InstanceStore(DataDir(root)))

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

    def look(self, name: str) -> Instance:
        """An instance as it is now. Raises: `vm::not_found`, `state::corrupt`, `state::untrusted`, `state::foreign`."""
        if not self.store.exists(name) and name in self.store.rests():
            record, home, state = self.store.read_rests(name)
            return Instance(record, Observation(state), str(home))
        record, files = self.store.read(name), self.store.files(name)
        backend = self.backend(record.backend)
        try:
            backend.check_section(record)
        except ValueError as error:
            raise self.store.corrupt(name, "the record {path} is damaged in the part of its backend") from error
        observation = backend.observe(record, files.home)
        failure = self._last_failure(record, observation)
        return Instance(
            record,
            observation,
            str(files.home),
            failure,
            backend.acceleration(record),
            backend.confinement(record),
        )

    def _last_failure(self, record: InstanceRecord, observation: Observation) -> LastFailure | None:
        """Also what nobody has been told of yet: whoever looks first writes it down."""
        files = self.store.files(record.name)
        quiet = observation.state is not VmState.FAILED if observation.alive else is_end_explained(files.journal)
        incident = None if quiet else self.backend(record.backend).incident(record, files.home)
        if incident is None:
            return last_failure(files.journal)
        try:
            record_incident(files.journal, incident)
        except VmError:
            return as_failure(incident)  # a full disk, or a directory that may only be read
        return last_failure(files.journal)

    def look_at(self, names: Iterable[str]) -> tuple[dict[str, Instance], dict[str, VmError]]:
        """Those of the instances that exist, and why others cannot be looked at; one of these stops none of those."""
        instances: dict[str, Instance] = {}
        failures: dict[str, VmError] = {}
        for name in names:
            try:
                if self.store.exists(name):
                    instances[name] = self.look(name)
            except VmError as error:
                failures[name] = error
        return instances, failures

    @contextmanager
    def locked(self, names: Iterable[str], command: str) -> Iterator[None]:
        """Hold the locks of several VMs, in one order for all, so that two commands never wait for each other crosswise."""
        with ExitStack() as stack:
            for name in sorted(names):
                stack.enter_context(self.store.lock(name, command))
                self._heal(name)
            yield

    def _heal(self, name: str) -> None:
        """Clear away what commands and QEMUs that were killed left behind, and say so."""
        from vm_manager.domain.events import Noticed

        self._end_staged(name)
        told = list(self.store.heal(name))
        if self.store.exists(name) and self.store.is_moving(name):
            from vm_manager.app.migrate import settle

            for what in settle(self, name):
                self.emit(Noticed(name, what))
        if self.store.exists(name):
            with suppress(VmError):
                self.look(name)  # what shows how a machine ended is about to be cleared away
            for backend in self._backends_of(name):
                told += backend.heal(self.home(name))
        for what in told:
            self.emit(Noticed(name, what))

    def _end_staged(self, name: str) -> None:
        """End a machine that was waiting for a VM to be moved to it: it never ran."""
        with suppress(VmNotFound):
            record, home, state = self.store.read_rests(name)
            if state is not VmState.DESTROYED:
                self.backend(record.backend).destroy(home)

    def _backends_of(self, name: str) -> Iterator[Backend]:
        """The VM's backend, if that can be told."""
        with suppress(VmError):
            self.store.require_plain(name)
            record = self.store.read_backup(name)
            with suppress(VmError):
                record = self.store.read(name)
            if record is not None:
                yield self.backend(record.backend)

    def note_progress(self, record: InstanceRecord, progress: Progress) -> InstanceRecord:
        """Write down how far a VM has come."""
        changed = replace(record, progress=progress)
        self.store.write(changed)
        return changed
