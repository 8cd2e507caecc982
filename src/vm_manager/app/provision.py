"""Running the provisioners of a VM that is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.holding import Vm, hold, vms
from vm_manager.app.inputs import with_contents
from vm_manager.app.ownership import require_own
from vm_manager.app.reach import open_session, require_working
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import (
    Interrupted,
    MachineGone,
    MachineStopped,
    ProvisionFailed,
    SshFailed,
    Usage,
    VmError,
)
from vm_manager.diagnostics.model import Label
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Progress
from vm_manager.domain.spec import VmSpec
from vm_manager.guest.provision import Provisioning
from vm_manager.planning.steps import after_step, steps_to_do
from vm_manager.planning.table import Verb
from vm_manager.vmfile.load import Project


def provision(
    services: Services, project: Project, names: Sequence[str], *, number: int | None = None
) -> tuple[Outcome, ...]:
    """Run the provisioners of running VMs again, but for those that run once and have succeeded.

    number: of the only step to run, from 1, whether or not it runs once; for a single VM.
    Raises: `vm::not_found`, `vm::foreign`, `vm::invalid_state`, `state::locked`, `vmctl::usage` for a step that does not
    exist, `vmfile::validation` for what cannot be run yet; failures of the steps are in the outcomes.
    """
    project.require_runnable(names)
    specs = {spec.name: with_contents(spec) for spec in project.select(names)}
    if number is not None:
        _require_step(tuple(specs.values()), number)
    with hold(services, specs, "vmctl provision") as held:
        for name in specs:
            services.store.require(name)
        require_own(held.instances.values(), project.path)
        for instance in held.instances.values():
            require_working(services, instance, Verb.PROVISION)
        there = vms(services, held.instances)

        def work(vm: str) -> str:
            spec = specs[vm]
            progress = there[vm].record.progress
            anew = replace(progress, done=()) if number is None else progress
            chosen = steps_to_do(spec, anew) if number is None else (number - 1,)
            run_steps(services, there[vm], spec, project, chosen, anew)
            skipped = len(spec.provisioners) - len(chosen) if number is None else 0
            runs = "runs" if skipped == 1 else "run"
            note = f", {skipped} that {runs} once left out" if skipped else ""
            return f"provisioned ({steps(len(chosen))}{note})"

        return on_each(services, tuple(there), work, held.failures)


def _require_step(specs: Sequence[VmSpec], number: int) -> None:
    if len(specs) != 1:
        raise Usage(
            "a single step needs a single VM, but {count} are selected",
            {"count": len(specs)},
            help=(f"name it, as in `vmctl provision {specs[0].name}`",),
        )
    count = len(specs[0].provisioners)
    if not 1 <= number <= count:
        known = f"its last one is step {count}" if count else "it has none: add a `provision` block to the VMFile"
        raise Usage("VM '{name}' has no step {number}", {"name": specs[0].name, "number": number}, help=(known,))


def run_steps(
    services: Services, vm: Vm, spec: VmSpec, project: Project, chosen: Sequence[int], progress: Progress
) -> None:
    """Run the provisioners of `spec` with these indexes; how far they came is in the record at every moment.

    progress: what counts as done from the moment of a successful login on.
    Raises: `provision::failed`, labelled with the step in the VMFile, `ssh::failed`, `qemu::exited`.
    """
    left = list(chosen)
    with step(services, vm.name, "provision", f"provisioning ({steps(len(chosen))})", "provisioned"):

        def done(index: int) -> None:
            vm.note(after_step(spec, vm.record.progress, index))
            left.remove(index)

        try:
            with open_session(services, vm.record) as session:
                # Not before: whoever cannot even log in has undone nothing.
                known = replace(vm.record.spec, provisioners=spec.provisioners)
                vm.write(replace(vm.record, spec=known, progress=progress))
                run = Provisioning(
                    name=vm.name,
                    session=session,
                    log=vm.files.provision_log,
                    emit=services.emit,
                    deadline=Deadline(None, services.cancel),
                    require_alive=vm.machine.require_alive,
                )
                run.run(spec.provisioners, chosen, done)
        except VmError as error:
            span = spec.provisioners[left[0]].span if left else None
            if span and not isinstance(error, Interrupted):
                error.enrich(labels=(Label(project.source, span, "this step"),))
            if isinstance(error, (ProvisionFailed, SshFailed)):
                _blame_the_dead(vm, error)
            raise


def steps(count: int) -> str:
    """A number of steps, in words."""
    return f"{count} step" if count == 1 else f"{count} steps"


def _blame_the_dead(vm: Vm, error: ProvisionFailed | SshFailed) -> None:
    """A lost connection has a deeper cause when the machine is gone: keep both."""
    try:
        vm.machine.require_alive()
    except (MachineGone, MachineStopped) as gone:
        gone.__cause__ = error.__cause__
        error.__cause__ = gone
        error.enrich(evidence=gone.diagnostic.evidence)
