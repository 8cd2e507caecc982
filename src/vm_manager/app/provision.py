"""Running the provisioners of a VM that is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.ownership import require_own
from vm_manager.app.reach import open_session, require_running
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import ProvisionFailed, QemuExited, SshFailed
from vm_manager.diagnostics.model import Label
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.spec import VmSpec
from vm_manager.guest.provision import Provisioning
from vm_manager.vmfile.load import Project


def provision(services: Services, project: Project, names: Sequence[str]) -> tuple[Outcome, ...]:
    """Run all provisioners of running VMs again, whatever has run before.

    Raises: `vm::not_found`, `vm::foreign`, `vm::invalid_state`, `state::locked`, `vmfile::validation` for what cannot be run
    yet; failures of the steps are in the outcomes.
    """
    project.require_runnable(names)
    specs = {spec.name: spec for spec in project.select(names)}
    with services.locked(specs, "vmctl provision"):
        for name in specs:
            services.store.require(name)
        instances, failures = services.look_at(specs)
        require_own(instances.values(), project.path)
        for instance in instances.values():
            require_running(instance, "provisioning")

        def work(vm: str) -> str:
            run_steps(services, instances[vm].record, specs[vm], project, 0)
            return f"provisioned ({steps(len(specs[vm].provisioners))})"

        return on_each(services, tuple(instances), work, failures)


def run_steps(services: Services, record: InstanceRecord, spec: VmSpec, project: Project, first: int) -> InstanceRecord:
    """Run the provisioners of `spec` from index `first` on; how far they came is in the record at every moment.

    Raises: `provision::failed`, labelled with the step in the VMFile, `ssh::failed`, `qemu::exited`.
    """
    backend, files = services.backend(record.backend), services.store.files(record.name)
    count = len(spec.provisioners)
    with step(services, record.name, "provision", f"provisioning ({steps(count - first)})", "provisioned"):

        def done(number: int) -> None:
            nonlocal record, first
            record, first = services.note_progress(record, replace(record.progress, steps_done=number)), number

        try:
            with open_session(services, record) as session:
                done(first)
                run = Provisioning(
                    name=record.name,
                    session=session,
                    log=files.provision_log,
                    emit=services.emit,
                    deadline=Deadline(None, services.cancel),
                    require_alive=lambda: backend.require_alive(record, files.home),
                )
                run.run(spec.provisioners, first, done)
        except (ProvisionFailed, SshFailed) as error:
            span = spec.provisioners[first].span if first < count else None
            if span:
                error.enrich(labels=(Label(project.source, span, "this step"),))
            _blame_the_dead(services, record, error)
            raise
    return record


def steps(count: int) -> str:
    """A number of steps, in words."""
    return f"{count} step" if count == 1 else f"{count} steps"


def _blame_the_dead(services: Services, record: InstanceRecord, error: ProvisionFailed | SshFailed) -> None:
    """A lost connection has a deeper cause when QEMU is gone: keep both."""
    try:
        services.backend(record.backend).require_alive(record, services.home(record.name))
    except QemuExited as gone:
        gone.__cause__ = error.__cause__
        error.__cause__ = gone
        error.enrich(evidence=gone.diagnostic.evidence)
