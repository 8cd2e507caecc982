"""`vmctl up` and `vmctl reload`: load → observe → plan → apply."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from vm_manager.app.apply import Run, RunOptions, check_host
from vm_manager.app.bridges import closed_bridges
from vm_manager.app.create import cached_urls
from vm_manager.app.drives import require_no_smaller_drives
from vm_manager.app.fleet import on_each
from vm_manager.app.foresight import unfit_images
from vm_manager.app.holding import Held, hold, vms
from vm_manager.app.inputs import edited, with_contents
from vm_manager.app.looking import incident_of, look_at, require_able_to_run, require_answering
from vm_manager.app.ownership import adopt, note_orphans, require_own
from vm_manager.app.services import Services
from vm_manager.app.strays import stray_error, strays
from vm_manager.diagnostics.errors import Usage, VmError
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.backend import Backend
from vm_manager.domain.deadline import STOP_TIMEOUT_S
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import Instance
from vm_manager.domain.outcome import Outcome
from vm_manager.domain.plan import Action, Plan, WaitFor
from vm_manager.domain.spec import VmSpec
from vm_manager.host.facts import read_host_facts
from vm_manager.planning.order import how_many_at_once, needs_for_up
from vm_manager.planning.reload import plan_reload
from vm_manager.planning.table import Verb, cell
from vm_manager.planning.up import plan_up
from vm_manager.vmfile.load import Project


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """How VMs are brought up.

    provision: False leaves out the provisioners. wait: for what; the next `up` waits for the rest.
    adopting: take over VMs that were made elsewhere. parallel: how many VMs at once; None: what the host can take.
    timeout_s: how long each guest may take to get ready; None: what its spec says, else what its accelerator makes reasonable.
    stop_timeout_s: how long a guest that is replaced may take to shut down before it is made to.
    """

    provision: bool = True
    wait: WaitFor = WaitFor.READY
    adopting: bool = False
    parallel: int | None = None
    timeout_s: float | None = None
    stop_timeout_s: float = STOP_TIMEOUT_S


def up(services: Services, project: Project, names: Sequence[str], options: UpOptions) -> tuple[Outcome, ...]:
    """Make VMs of a VMFile, and those that they depend on, exist, run, be ready and be provisioned, several at a time.

    Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmctl::usage` for provisioners and dependants that would not be
    waited for, `vmfile::validation` for what cannot be run yet and drives that would be made smaller; what fails for one VM is in
    its outcome.
    """
    specs = _wanted(project, names, options)
    with hold(services, [spec.name for spec in specs], "vmctl up") as held:
        if options.adopting:
            adopt(services, held, project.path)
        require_own(held.instances.values(), project.path)
        require_no_smaller_drives(project, specs, held.instances)
        note_orphans(services, project, names)
        held.failures.update(_unusable(services, held.instances, require_answering))
        plan = _plan(services, specs, held, _up_planner(held.instances, specs, options), options)
        return _apply(services, project, specs, held, plan, options)


def reload(services: Services, project: Project, names: Sequence[str], options: UpOptions) -> tuple[Outcome, ...]:
    """Replace VMs of a VMFile by new ones, each prepared beside the old one before that is ended, and bring them up.

    Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmfile::validation` as `up`; what fails for one VM is in
    its outcome.
    """
    project.require_runnable(names)
    specs = tuple(map(with_contents, project.select(names)))
    with hold(services, [spec.name for spec in specs], "vmctl reload") as held:
        require_own(held.instances.values(), project.path)
        require_no_smaller_drives(project, specs, held.instances)
        note_orphans(services, project, names)
        plan = _plan(services, specs, held, plan_reload, options)
        return _apply(services, project, specs, held, plan, options)


def plan(services: Services, project: Project, names: Sequence[str], options: UpOptions) -> Plan:
    """What `up` would do. Takes no lock and changes nothing; what the host lacks for it is a warning.

    Raises: `vm::not_found`, `vm::foreign`, `vmctl::usage`, `vmfile::validation`; for a VM that cannot be looked at, its failure.
    """
    specs = _wanted(project, names, options)
    instances, failures = look_at(services, (spec.name for spec in specs))
    running = strays(services)
    failures |= {spec.name: stray_error(services, running[spec.name][0]) for spec in specs if spec.name in running}
    for failure in (failures | _unusable(services, instances, require_able_to_run)).values():
        raise failure
    if not options.adopting:
        require_own(instances.values(), project.path)
    require_no_smaller_drives(project, specs, instances)
    note_orphans(services, project, names)
    found = _plan(services, specs, Held(instances), _up_planner(instances, specs, options), options)
    try:
        check_host(services, found, instances.values(), project)
    except VmError as error:
        services.emit(Warned(None, error.as_warning()))
    made = [it.spec for it in found.operations if it.action is Action.CREATE and it.spec]
    started = [it.spec for it in found.operations if it.action is Action.START and it.spec]
    started += [instances[it.vm].record.spec for it in found.operations if it.action is Action.RESTORE]
    for refusal in (*unfit_images(services, project, made), *closed_bridges(services, project, started)):
        services.emit(Warned(None, refusal.as_warning()))
    return found


def _unusable(
    services: Services, instances: Mapping[str, Instance], require: Callable[[Services, Instance], None]
) -> dict[str, VmError]:
    """The VMs whose machines stand still after a panic, a full disk or the like: they are up, and yet they are not.

    require: how closely those are looked at that did not answer.
    """
    failures: dict[str, VmError] = {}
    for name, instance in instances.items():
        try:
            require(services, instance)
            if incident := incident_of(services, instance):
                raise incident
            cell(Verb.UP, instance)
        except VmError as error:
            failures[name] = error
    return failures


def _wanted(project: Project, names: Sequence[str], options: UpOptions) -> tuple[VmSpec, ...]:
    specs = tuple(map(with_contents, project.with_dependencies(names)))
    if options.provision:
        _require_wait(specs, options.wait)
    project.require_runnable([spec.name for spec in specs])
    return specs


def _require_wait(specs: Iterable[VmSpec], wait: WaitFor) -> None:
    """Provisioners, and VMs that depend on others, need guests that are ready. Raises: `vmctl::usage`."""
    for spec in specs:
        if wait is not WaitFor.READY and (spec.provisioners or spec.depends_on):
            has = "has provisioners, which need" if spec.provisioners else "depends on others, which needs"
            raise Usage(
                "VM '{name}' {has} more than --wait {wait}",
                {"name": spec.name, "has": has, "wait": wait},
                help=("add `--no-provision`; the next `vmctl up` does the rest",),
                subject=Subject(vm=spec.name),
            )


def _up_planner(instances: Mapping[str, Instance], specs: Iterable[VmSpec], options: UpOptions) -> _Planner:
    known = {spec.name: edited(instances[spec.name].record, spec) for spec in specs if spec.name in instances}
    return partial(plan_up, wait=options.wait, edited=known)


class _Planner(Protocol):
    def __call__(
        self,
        specs: Iterable[VmSpec],
        instances: Mapping[str, Instance],
        cached_urls: Collection[str],
        *,
        without_guests: Collection[str],
        provision: bool,
    ) -> Plan: ...


def _plan(services: Services, specs: Sequence[VmSpec], held: Held, planner: _Planner, options: UpOptions) -> Plan:
    todo = [spec for spec in specs if spec.name not in held.failures]
    without = [spec.name for spec in todo if not _backend(services, spec, held.instances).capabilities().guests]
    return planner(
        todo, held.instances, cached_urls(services, todo), without_guests=without, provision=options.provision
    )


def _apply(
    services: Services, project: Project, specs: Sequence[VmSpec], held: Held, plan: Plan, options: UpOptions
) -> tuple[Outcome, ...]:
    for warning in check_host(services, plan, held.instances.values(), project):
        services.emit(warning)
    there = vms(services, held.instances)
    how = RunOptions(project=project, stop_timeout_s=options.stop_timeout_s, wait_timeout_s=options.timeout_s)
    work = lambda vm: Run(services, vm, there.get(vm), how).apply(plan.of(vm))  # noqa: E731
    parallel = options.parallel or how_many_at_once(specs, read_host_facts())
    return on_each(services, plan.vms, work, held.failures, needs=needs_for_up(specs), parallel=parallel)


def _backend(services: Services, spec: VmSpec, instances: Mapping[str, Instance]) -> Backend:
    """The VM's own backend; for a new one, the chosen."""
    return services.backend(instances[spec.name].record.backend if spec.name in instances else None)
