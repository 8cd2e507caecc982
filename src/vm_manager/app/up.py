"""`vmctl up`: load → observe → plan → apply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vm_manager.app.create import create_instance, fetch_image, require_base
from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.provision import run_steps, steps
from vm_manager.app.reach import wait_for_guest
from vm_manager.app.services import Services, require_own
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import CloudInitFailed, GuestError, SshError, Usage
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.backend import Backend
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import Instance, InstanceRecord
from vm_manager.domain.plan import Action, Operation, Plan, WaitFor
from vm_manager.domain.spec import OnError, VmSpec
from vm_manager.images.cache import ImageCache
from vm_manager.planning.changes import startable
from vm_manager.planning.up import plan_up
from vm_manager.vmfile.load import Project

_NEEDS_HOST = (Action.CREATE, Action.START)


def up(
    services: Services,
    project: Project,
    names: Sequence[str],
    *,
    provision: bool = True,
    wait: WaitFor = WaitFor.READY,
) -> tuple[Outcome, ...]:
    """Make the VMs of a VMFile exist, run, be ready and be provisioned, several at a time.

    wait: for what; the next `up` waits for the rest.
    Raises: `vm::not_found`, `vm::foreign`, `state::locked`, `vmctl::usage` for provisioners that would not be waited for,
    `vmfile::validation` for what cannot be run yet; what fails for one VM is in its outcome.
    """
    project.require_runnable(names)
    specs = {spec.name: spec for spec in project.select(names)}
    if provision:
        _require_wait(specs.values(), wait)
    with services.locked(specs, "vmctl up"):
        instances, failures = services.look_at(specs)
        require_own(instances.values(), project.path)
        plan = _plan(
            services, [spec for spec in specs.values() if spec.name not in failures], instances, provision, wait
        )
        _check_host(services, [specs[op.vm] for op in plan.operations if op.action in _NEEDS_HOST], instances)
        work = lambda vm: _Run(services, project, specs[vm], wait).apply(plan.of(vm))  # noqa: E731
        return on_each(services, plan.vms, work, failures)


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


def _plan(
    services: Services, specs: list[VmSpec], instances: dict[str, Instance], provision: bool, wait: WaitFor
) -> Plan:
    cache = ImageCache(services.store.data.images)
    cached = {spec.image.url for spec in specs if spec.image.url and cache.find(spec.image.url)}
    without = [spec.name for spec in specs if not _backend(services, spec, instances).capabilities().guests]
    return plan_up(specs, instances, cached, without_guests=without, provision=provision, wait=wait)


def _check_host(services: Services, specs: list[VmSpec], instances: dict[str, Instance]) -> None:
    backends = {_backend(services, spec, instances) for spec in specs}
    for backend in backends:
        theirs = tuple(spec for spec in specs if _backend(services, spec, instances) is backend)
        for warning in backend.check_host(theirs):
            services.emit(Warned(None, warning))


def _backend(services: Services, spec: VmSpec, instances: dict[str, Instance]) -> Backend:
    """The VM's own backend; for a new one, the chosen."""
    return services.backend(instances[spec.name].record.backend if spec.name in instances else None)


class _Run:
    """Applies the operations on one VM, in order."""

    def __init__(self, services: Services, project: Project, spec: VmSpec, wait: WaitFor) -> None:
        self._services, self._project, self._spec, self._wait_for = services, project, spec, wait
        self._done: list[str] = []
        self._waits = False

    def apply(self, operations: Sequence[Operation]) -> str:
        self._waits = any(operation.action is Action.WAIT for operation in operations)
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
                    self._provision(operation.steps)
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
            require_base(record)
            # Before the machine runs: should we die in between, a fresh boot must not pass for a ready guest.
            started = replace(record.progress, started=True, ready=False, steps_done=0)
            record = replace(record, spec=startable(record.spec, spec), progress=started)
            services.store.write(record)
            record = replace(record, backend_data=backend.start(record, home, services.cancel))
            services.store.write(record)
            told.outcome = f"started{_where(services, record)}"
        if not self._waits and self._wait_for is WaitFor.READY:
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
        to_the_end = self._wait_for is WaitFor.READY
        outcome = "ready" if to_the_end else "reachable by SSH"
        with step(services, record.name, "wait", "waiting for the guest", outcome):
            try:
                wait_for_guest(
                    services, record, self._spec.boot_timeout_s, on_error=self._on_error, login_only=not to_the_end
                )
            except CloudInitFailed:
                raise  # it brings its own evidence; the console shows nothing that is not in it
            except (GuestError, SshError) as error:
                backend = services.backend(record.backend)
                raise error.enrich(evidence=backend.evidence(record, services.home(record.name))) from error.__cause__
        services.note_progress(record, replace(record.progress, ready=to_the_end, host_key_verified=True))
        self._done.append(outcome)

    @property
    def _on_error(self) -> OnError:
        return self._spec.cloud_init.on_error if self._spec.cloud_init else OnError.FAIL

    def _provision(self, chosen: Sequence[int]) -> None:
        record = self._services.store.read(self._spec.name)
        run_steps(self._services, record, self._spec, self._project, chosen)
        self._done.append(f"provisioned ({steps(len(chosen))})")


def _where(services: Services, record: InstanceRecord) -> str:
    endpoint = services.backend(record.backend).observe(record, services.home(record.name)).ssh
    return f", SSH on {endpoint.host}:{endpoint.port}" if endpoint else ""
