"""Holding VMs: their locks, what interrupted commands left behind cleared away, and one look at each.

A command plans and works on this one look. Whoever holds a VM's lock alone changes its record, so `Vm` knows it without
reading it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from vm_manager.app.looking import look
from vm_manager.app.moving import end_arriving, settle
from vm_manager.app.services import Services
from vm_manager.app.strays import lock, require, stray_error, strays
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.events import Noticed
from vm_manager.domain.instance import Instance, InstanceRecord, Progress
from vm_manager.domain.machine import Machine, Stray
from vm_manager.state.layout import InstanceFiles


class Vm:
    """A VM whose lock is held: its record, as it is on disk, and its machine."""

    def __init__(self, services: Services, record: InstanceRecord) -> None:
        self._services = services
        self.record = record

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def files(self) -> InstanceFiles:
        """Its files."""
        return self._services.store.files(self.name)

    @property
    def machine(self) -> Machine:
        """Its machine, bound to the record as it is now."""
        return self._services.machine(self.record)

    def write(self, record: InstanceRecord) -> None:
        """Replace its record. Raises: `host::disk_full`, `host::permission_denied`, `io`."""
        self._services.store.write(record)
        self.record = record

    def note(self, progress: Progress) -> None:
        """Write down how far it has come. Raises: as `write`."""
        self.write(replace(self.record, progress=progress))


@dataclass(frozen=True)
class Held:
    """What the look at held VMs showed.

    instances: by name, those that exist. failures: by name, why others cannot be worked on. A name in neither: there is none.
    strays: by name, machines that have to be ended before anything else is done; each is in `failures`, too.
    """

    instances: dict[str, Instance] = field(default_factory=dict)
    failures: dict[str, VmError] = field(default_factory=dict)
    strays: dict[str, tuple[Stray, ...]] = field(default_factory=dict)

    def of(self, services: Services, name: str) -> Instance:
        """One of them. Raises: its failure, or `vm::not_found`."""
        if name in self.failures:
            raise self.failures[name]
        if name not in self.instances:
            require(services, name)
        return self.instances[name]


@contextmanager
def hold(services: Services, names: Iterable[str], command: str) -> Iterator[Held]:
    """Hold the locks of several VMs, and look at each.

    The locks are taken in one order by everybody, so that two commands never wait for each other crosswise.
    Raises: `state::locked`, `state::untrusted`, `state::foreign`; `host::permission_denied` and `io` when what was left behind
    cannot be cleared away.
    """
    held = Held()
    wanted = tuple(dict.fromkeys(names))
    with ExitStack() as stack:
        found: dict[str, Instance | VmError | None] = {}
        for name in sorted(wanted):
            stack.enter_context(lock(services, name, command))
            found[name] = _heal_and_look(services, name)
        held.strays.update(strays(services) if wanted else {})
        for name in wanted:
            match stray_error(services, held.strays[name][0]) if name in held.strays else found[name]:
                case Instance() as instance:
                    held.instances[name] = instance
                case VmError() as error:
                    held.failures[name] = error
        yield held


def _heal_and_look(services: Services, name: str) -> Instance | VmError | None:
    """Clear away what commands and hypervisors that were killed left behind, and say so; and what is there then."""
    end_arriving(services, name)
    for what in services.store.heal(name):
        services.emit(Noticed(name, what))
    if services.store.exists(name):
        for what in settle(services, name, lambda there: hold(there, [name], "vmctl migrate")):
            services.emit(Noticed(name, what))
    if not services.store.exists(name):
        return None
    # Before anything is cleared away that shows how a machine ended.
    found = _look(services, name)
    healed = _heal(services, name, found)
    for what in healed:
        services.emit(Noticed(name, what))
    settled = isinstance(found, Instance) and found.alive and not healed
    # One that looked powered off may have been about to start, and is waited for by then.
    return found if settled else _look(services, name)


def _look(services: Services, name: str) -> Instance | VmError:
    try:
        return look(services, name)
    except VmError as error:
        return error


def _heal(services: Services, name: str, found: Instance | VmError) -> tuple[str, ...]:
    if isinstance(found, Instance):
        return services.machine(found.record).heal()
    with suppress(VmError):
        services.store.require_plain(name)
        return services.remnant(name).heal()
    return ()


def vms(services: Services, instances: Mapping[str, Instance]) -> dict[str, Vm]:
    """Handles of held instances, by name."""
    return {name: Vm(services, instance.record) for name, instance in instances.items()}
