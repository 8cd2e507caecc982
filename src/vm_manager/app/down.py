"""`vmctl down`: stopping the VMs of a VMFile, and removing them."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.app.apply import Run, RunOptions
from vm_manager.app.fleet import on_each
from vm_manager.app.holding import hold, vms
from vm_manager.app.ownership import note_orphans, orphans, require_own
from vm_manager.app.services import Services
from vm_manager.domain.deadline import STOP_TIMEOUT_S
from vm_manager.domain.outcome import Outcome
from vm_manager.planning.down import plan_down
from vm_manager.planning.order import needs_for_down
from vm_manager.vmfile.load import Project


def down(
    services: Services,
    project: Project,
    names: Sequence[str],
    *,
    destroy: bool = False,
    with_orphans: bool = False,
    timeout_s: float = STOP_TIMEOUT_S,
) -> tuple[Outcome, ...]:
    """Stop the VMs of a VMFile, dependants first, and with `destroy` remove them. Idempotent.

    with_orphans: also those that were made from this VMFile and that it defines no more.
    timeout_s: how long a guest may take to shut down before it is made to.
    Raises: `vm::not_found`, `vm::foreign`, `state::locked`; what fails for one VM is in its outcome.
    """
    wanted = [spec.name for spec in project.select(names)]
    if with_orphans:
        wanted += orphans(services, project)
    else:
        note_orphans(services, project, names)
    options = RunOptions(project=project, stop_timeout_s=timeout_s)
    with hold(services, wanted, "vmctl down --destroy" if destroy else "vmctl down") as held:
        require_own(held.instances.values(), project.path)
        plan = plan_down([name for name in wanted if name not in held.failures], held.instances, destroy=destroy)
        there = vms(services, held.instances)
        work = lambda vm: Run(services, vm, there.get(vm), options).apply(plan.of(vm))  # noqa: E731
        return on_each(services, plan.vms, work, held.failures, needs=needs_for_down(project.specs))
