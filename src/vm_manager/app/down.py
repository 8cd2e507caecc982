"""`vmctl down` and `vmctl destroy`: stopping VMs, and removing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.services import Services, require_own
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import BackendNotAvailable, StateCorrupt
from vm_manager.domain.backend import Backend
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.plan import Action, Operation
from vm_manager.planning.down import plan_down
from vm_manager.vmfile.load import Project


def down(
    services: Services, project: Project, names: Sequence[str], *, destroy: bool, timeout_s: float
) -> tuple[Outcome, ...]:
    """Stop the VMs of a VMFile, and with `destroy` remove them. Idempotent.

    timeout_s: how long a guest may take to shut down before it is made to.
    Raises: `vm::not_found`, `vm::foreign`, `state::locked`; what fails for one VM is in its outcome.
    """
    wanted = [spec.name for spec in project.select(names)]
    with services.locked(wanted, "vmctl down --destroy" if destroy else "vmctl down"):
        instances, failures = services.look_at(wanted)
        require_own(instances.values(), project.path)
        plan = plan_down([name for name in wanted if name not in failures], instances, destroy=destroy)

        def work(vm: str) -> str:
            return ", ".join(_apply(services, operation, timeout_s) for operation in plan.of(vm))

        return on_each(services, plan.vms, work, failures)


def destroy(services: Services, names: Sequence[str]) -> tuple[Outcome, ...]:
    """Remove VMs by name, wherever they came from, and whatever state they are in.

    Raises: `vm::not_found`, `state::locked`; what fails for one VM is in its outcome.
    """
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        services.store.require(name)
    with services.locked(wanted, "vmctl destroy"):
        return on_each(services, wanted, lambda vm: _destroy(services, vm))


def _apply(services: Services, operation: Operation, timeout_s: float) -> str:
    match operation.action:
        case Action.STOP:
            return _stop(services, operation.vm, timeout_s)
        case Action.DESTROY:
            return _destroy(services, operation.vm)
        case _:
            return operation.cause


def _stop(services: Services, vm: str, timeout_s: float) -> str:
    record = services.store.read(vm)
    with step(services, vm, "stop", "stopping", "stopped"):
        deadline = Deadline(timeout_s, services.cancel)
        services.backend(record.backend).stop(record, services.home(vm), deadline, services.emit)
    services.note_progress(record, replace(record.progress, ready=False, steps_done=0))
    return "stopped"


def _destroy(services: Services, vm: str) -> str:
    with step(services, vm, "destroy", "destroying", "destroyed"):
        _backend(services, vm).destroy(services.home(vm))
        services.store.remove(vm)
    return "destroyed"


def _backend(services: Services, vm: str) -> Backend:
    """The VM's backend; one whose record is lost, or names a backend we do not know, must still be removable."""
    try:
        return services.backend(services.store.read(vm).backend)
    except (StateCorrupt, BackendNotAvailable):
        return services.backend()
