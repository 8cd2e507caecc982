"""`vmctl up` and `vmctl reload`: load → observe → plan → apply."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from vm_manager.app.apply import STOP_TIMEOUT_S, Run, Wanted
from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.ownership import adopt, note_orphans, require_own
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import Usage
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.backend import Backend
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Plan, WaitFor
from vm_manager.domain.spec import VmSpec
from vm_manager.images.cache import ImageCache
from vm_manager.planning.reload import plan_reload
from vm_manager.planning.up import plan_up
from vm_manager.vmfile.load import Project

_NEEDS_HOST = (Action.CREATE, Action.REPLACE, Action.START)


def up(
    services: Services,
    project: Project,
    names: Sequence[str],
    *,
    provision: bool = True,
    wait: WaitFor = WaitFor.READY,
    adopting: bool = False,
    timeout_s: float | None = None,
) -> tuple[Outcome, ...]:
    """Make the VMs of a VMFile exist, run, be ready and be provisioned, several at a time.

    wait: for what; the next `up` waits for the rest.
    adopting: take over VMs of these names that were made elsewhere.
    timeout_s: how long each guest may take to get ready; None: see `Run`.
    Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmctl::usage` for provisioners that would not be waited for,
    `vmfile::validation` for what cannot be run yet; what fails for one VM is in its outcome.
    """
    if provision:
        _require_wait(project.select(names), wait)
    planner = partial(plan_up, wait=wait)
    return _bring_up(
        services, project, names, planner, "vmctl up", provision=provision, adopting=adopting, wait_timeout_s=timeout_s
    )


def reload(
    services: Services,
    project: Project,
    names: Sequence[str],
    *,
    provision: bool = True,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> tuple[Outcome, ...]:
    """Replace the VMs of a VMFile by new ones, each prepared beside the old one before that is ended, and bring them up.

    stop_timeout_s: how long an old guest may take to shut down before it is made to.
    Raises: see `up`.
    """
    return _bring_up(
        services, project, names, plan_reload, "vmctl reload", provision=provision, stop_timeout_s=stop_timeout_s
    )


def _require_wait(specs: Iterable[VmSpec], wait: WaitFor) -> None:
    """Provisioners need a guest that is ready. Raises: `vmctl::usage`."""
    for spec in specs:
        if spec.provisioners and wait is not WaitFor.READY:
            raise Usage(
                "VM '{name}' has provisioners, which need more than --wait {wait}",
                {"name": spec.name, "wait": wait},
                help=("add --no-provision, and leave them to the next `vmctl up`",),
                subject=Subject(vm=spec.name),
            )


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


def _bring_up(
    services: Services,
    project: Project,
    names: Sequence[str],
    planner: _Planner,
    command: str,
    *,
    provision: bool,
    adopting: bool = False,
    stop_timeout_s: float = STOP_TIMEOUT_S,
    wait_timeout_s: float | None = None,
) -> tuple[Outcome, ...]:
    project.require_runnable(names)
    specs = {spec.name: spec for spec in project.select(names)}
    with services.locked(specs, command):
        instances, failures = services.look_at(specs)
        if adopting:
            instances = adopt(services, instances, project.path)
        require_own(instances.values(), project.path)
        note_orphans(services, project, names)
        todo = [spec for spec in specs.values() if spec.name not in failures]
        plan = planner(
            todo,
            instances,
            _cached_urls(services, todo),
            without_guests=[
                spec.name for spec in todo if not _backend(services, spec, instances).capabilities().guests
            ],
            provision=provision,
        )
        _check_host(services, [specs[op.vm] for op in plan.operations if op.action in _NEEDS_HOST], instances)

        def work(vm: str) -> str:
            wanted = Wanted(specs[vm], str(project.path), project)
            run = Run(services, vm, wanted, stop_timeout_s=stop_timeout_s, wait_timeout_s=wait_timeout_s)
            return run.apply(plan.of(vm))

        return on_each(services, plan.vms, work, failures)


def _cached_urls(services: Services, specs: Iterable[VmSpec]) -> frozenset[str]:
    cache = ImageCache(services.store.data.images)
    return frozenset(spec.image.url for spec in specs if spec.image.url and cache.find(spec.image.url))


def _check_host(services: Services, specs: Sequence[VmSpec], instances: Mapping[str, Instance]) -> None:
    backends = {_backend(services, spec, instances) for spec in specs}
    for backend in backends:
        theirs = tuple(spec for spec in specs if _backend(services, spec, instances) is backend)
        for warning in backend.check_host(theirs):
            services.emit(Warned(None, warning))


def _backend(services: Services, spec: VmSpec, instances: Mapping[str, Instance]) -> Backend:
    """The VM's own backend; for a new one, the chosen."""
    return services.backend(instances[spec.name].record.backend if spec.name in instances else None)
