"""`vmctl up`: load → observe → plan → apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vm_manager.app.create import create_instance, fetch_image
from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.provision import run_steps, steps
from vm_manager.app.reach import wait_for_guest
from vm_manager.app.services import Services, require_own
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import GuestError, SshError
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import InstanceRecord, Progress
from vm_manager.domain.plan import Action, Operation, Plan
from vm_manager.domain.spec import VmSpec
from vm_manager.images.cache import ImageCache
from vm_manager.planning.changes import startable
from vm_manager.planning.up import plan_up
from vm_manager.vmfile.load import Project

_NEEDS_HOST = (Action.CREATE, Action.START)


def up(services: Services, project: Project, names: Sequence[str], *, provision: bool = True) -> tuple[Outcome, ...]:
    """Make the VMs of a VMFile exist, run, be ready and be provisioned, several at a time.

    Raises: `vm::not_found`, `vm::foreign`, `state::locked`; what fails for one VM is in its outcome.
    """
    specs = {spec.name: spec for spec in project.select(names)}
    with services.locked(specs, "vmctl up"):
        plan = _plan(services, project, specs, provision)
        if any(operation.action in _NEEDS_HOST for operation in plan.operations):
            for warning in services.backend().check_host(tuple(specs.values())):
                services.emit(Warned(None, warning))
        return on_each(services, plan.vms, lambda vm: _Run(services, project, specs[vm]).apply(plan.of(vm)))


def _plan(services: Services, project: Project, specs: dict[str, VmSpec], provision: bool) -> Plan:
    instances = services.look_at(specs)
    require_own(instances.values(), project.path)
    cache = ImageCache(services.store.data.images)
    cached = {spec.image.url for spec in specs.values() if spec.image.url and cache.find(spec.image.url)}
    guests = services.backend().capabilities().guests
    return plan_up(specs.values(), instances, cached, guests=guests, provision=provision)


class _Run:
    """Applies the operations on one VM, in order."""

    def __init__(self, services: Services, project: Project, spec: VmSpec) -> None:
        self._services, self._project, self._spec = services, project, spec
        self._done: list[str] = []

    def apply(self, operations: Sequence[Operation]) -> str:
        for operation in operations:
            match operation.action:
                case Action.FETCH:
                    self._fetch()
                case Action.CREATE:
                    self._create()
                case Action.START:
                    self._start()
                case Action.RESUME:
                    self._resume()
                case Action.WAIT:
                    self._wait()
                case Action.PROVISION:
                    self._provision(operation.first_step)
                case _:
                    self._done.append(operation.cause)
        return ", ".join(self._done)

    def _fetch(self) -> None:
        with step(self._services, self._spec.name, "fetch", "fetching the image", "fetched the image"):
            fetch_image(self._services, self._spec)

    def _create(self) -> None:
        with step(self._services, self._spec.name, "create", "creating", "created"):
            create_instance(self._services, self._spec, self._project.path)
        self._done.append("created")

    def _start(self) -> None:
        services, spec = self._services, self._spec
        record = services.store.read(spec.name)
        backend, home = services.backend(record.backend), services.home(spec.name)
        with step(services, spec.name, "start", "starting", "started") as told:
            # Before the machine runs: should we die in between, a fresh boot must not pass for a ready guest.
            started = Progress(started=True, host_key_verified=record.progress.host_key_verified)
            record = replace(record, spec=startable(record.spec, spec), progress=started)
            services.store.write(record)
            record = replace(record, backend_data=backend.start(record, home, services.cancel))
            services.store.write(record)
            told.outcome = f"started{_where(services, record)}"
        if not (spec.has_seed and spec.is_reachable and backend.capabilities().guests):
            services.note_progress(record, replace(record.progress, ready=True))
        self._done.append("started")

    def _resume(self) -> None:
        record = self._services.store.read(self._spec.name)
        with step(self._services, record.name, "resume", "resuming", "resumed"):
            self._services.backend(record.backend).resume(record, self._services.home(record.name))
        self._done.append("resumed")

    def _wait(self) -> None:
        services = self._services
        record = services.store.read(self._spec.name)
        with step(services, record.name, "wait", "waiting for the guest", "ready"):
            try:
                wait_for_guest(services, record, self._spec.boot_timeout_s)
            except (GuestError, SshError) as error:
                backend = services.backend(record.backend)
                raise error.enrich(evidence=backend.evidence(record, services.home(record.name))) from error.__cause__
        services.note_progress(record, replace(record.progress, ready=True, host_key_verified=True))
        self._done.append("ready")

    def _provision(self, first: int) -> None:
        record = self._services.store.read(self._spec.name)
        run_steps(self._services, record, self._spec, self._project, first)
        self._done.append(f"provisioned ({steps(len(self._spec.provisioners) - first)})")


def _where(services: Services, record: InstanceRecord) -> str:
    endpoint = services.backend(record.backend).observe(record, services.home(record.name)).ssh
    return f", SSH on {endpoint.host}:{endpoint.port}" if endpoint else ""
