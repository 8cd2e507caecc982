"""Looking at VMs: the record, what the machine shows, and what happened to it while nobody looked. Takes no lock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vm_manager.app.services import Services
from vm_manager.app.strays import require
from vm_manager.diagnostics.errors import InvalidState, StateCorrupt, VmError
from vm_manager.domain.instance import Instance, InstanceRecord, LastFailure, Observation, VmState
from vm_manager.domain.machine import Machine
from vm_manager.state.journal import as_failure, is_end_explained, last_failure, record_incident

if TYPE_CHECKING:
    from vm_manager.planning.table import Verb


def look(services: Services, name: str) -> Instance:
    """An instance as it is now.

    Raises: `vm::not_found`, `vm::stray`, `state::corrupt`, `state::untrusted`, `state::foreign`.
    """
    store = services.store
    if not store.exists(name) and name in store.leftovers():
        record, home, state = store.read_leftovers(name)
        return Instance(record, Observation(state), str(home))
    require(services, name)
    try:
        return look_at_record(services, store.read(name))
    except StateCorrupt as error:
        if services.remnant(name).is_alive():
            error.enrich(notes=("the VM is running",), help=(*error.diagnostic.help, stopping(name)))
        raise


def stopping(name: str) -> str:
    """The help for a VM that runs and whose record is damaged."""
    return f"stop it meanwhile, which needs no record: `vmctl stop {name}`"


def look_at_record(services: Services, record: InstanceRecord) -> Instance:
    """An instance as it is now, by its record. Raises: `state::corrupt`, `backend::not_available`."""
    backend, home = services.backend(record.backend), services.home(record.name)
    machine = backend.machine(record, home)
    try:
        machine.check_section()
    except ValueError as error:
        raise services.store.corrupt(record.name, "the record {path} is damaged in its backend's section") from error
    observation = machine.observe()
    return Instance(
        record,
        observation,
        str(home),
        _last_failure(services, record, machine, observation),
        machine.acceleration(),
        machine.confinement(),
        backend.capabilities().features,
        machine.drives(),
        machine.macs(),
        machine.share_type(),
    )


def look_at(services: Services, names: Iterable[str]) -> tuple[dict[str, Instance], dict[str, VmError]]:
    """Those of the instances that exist, and why others cannot be looked at; a failure of one does not stop the others."""
    instances: dict[str, Instance] = {}
    failures: dict[str, VmError] = {}
    for name in names:
        try:
            if services.store.exists(name):
                instances[name] = look(services, name)
        except VmError as error:
            failures[name] = error
    return instances, failures


def incident_of(services: Services, instance: Instance) -> VmError | None:
    """What has stopped a machine that is powered on, such as a panic or a full disk; None when nothing has."""
    if not instance.stopped_by_error:
        return None
    incident = services.machine(instance.record).incident()
    return incident.error.enrich(subject=services.subject(instance.name)) if incident else None


def require_able_to_run(services: Services, instance: Instance) -> None:
    """Raises: `qemu::qmp_connect_failed` when the machine's process was stopped, frozen or the like, with what lets it run."""
    if not instance.observation.answers and (incident := incident_of(services, instance)):
        raise incident


def require_possible(services: Services, instance: Instance, verb: Verb) -> None:
    """Make sure that a command can do something with a held VM, and that its machine answers.

    Raises: `vm::invalid_state`; where an error has stopped the machine, or its process does not answer, that.
    """
    from vm_manager.planning.table import Verb, cell  # listing VMs does without

    if verb not in (Verb.STOP, Verb.RESTART):
        require_answering(services, instance)
    try:
        cell(verb, instance)
    except InvalidState:
        if incident := incident_of(services, instance):
            raise incident from None
        raise


def require_answering(services: Services, instance: Instance) -> None:
    """Make sure that the machine of a held VM answers, where it is on, before anything is said or asked of it.

    Raises: `qemu::qmp_connect_failed`, with what its process is doing instead.
    """
    require_able_to_run(services, instance)
    if instance.alive and not instance.observation.answers:
        services.machine(instance.record).require_answer()


def _last_failure(
    services: Services, record: InstanceRecord, machine: Machine, observation: Observation
) -> LastFailure | None:
    """Includes what nobody has seen yet: the first look writes it to the journal."""
    journal = services.store.files(record.name).journal
    quiet = observation.state is not VmState.FAILED if observation.alive else is_end_explained(journal)
    incident = None if quiet else machine.incident()
    if incident is None:
        return last_failure(journal)
    if incident.passing:
        return as_failure(incident)
    try:
        record_incident(journal, incident)
    except VmError:
        return as_failure(incident)  # a full disk, or a directory that may only be read
    return last_failure(journal)
