"""Carrying out a plan on one VM, operation by operation. All decisions are in the plan; nothing is decided here.

What fetches images, logs in and provisions is imported by the operations that need it: stopping a VM must not cost that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from vm_manager.app.base_image import begin_digest, require_base, with_content
from vm_manager.app.bridges import require_bridges
from vm_manager.app.holding import Vm
from vm_manager.app.places import image_labels, user_labels
from vm_manager.app.ports import point_at_forward, require_ports
from vm_manager.app.services import Services
from vm_manager.app.steps import Step, step
from vm_manager.diagnostics.errors import (
    AuthFailed,
    CloudInitFailed,
    GuestError,
    ImageError,
    KvmUnusable,
    MountFailed,
    NoShell,
    PortInUse,
    PortUnavailable,
    RemoteError,
    SshError,
    VmError,
)
from vm_manager.diagnostics.model import Label
from vm_manager.domain.deadline import STOP_TIMEOUT_S, Deadline
from vm_manager.domain.events import Noticed, Warned
from vm_manager.domain.instance import CREATED_BY_HAND, BaseImage, Endpoint, Instance, InstanceRecord
from vm_manager.domain.machine import Remnant
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action, Operation, Plan, WaitFor
from vm_manager.domain.spec import Accelerator, OnError, VmSpec
from vm_manager.planning.steps import before_steps
from vm_manager.state.files import written_bytes
from vm_manager.state.journal import record_begun, record_success
from vm_manager.state.store import keep_drives

if TYPE_CHECKING:
    from vm_manager.host.content import Digesting
    from vm_manager.vmfile.load import Project


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a plan is carried out.

    project: the VMFile that wants it; None: nothing but options does.
    stop_timeout_s: how long a guest may take to shut down before it is made to.
    wait_timeout_s: how long it may take to get ready; None: what its spec says, else what the accelerator makes reasonable.
    accept_base: take the image below its disk for the one it was made on, whatever it looks like.
    """

    project: Project | None = None
    stop_timeout_s: float = STOP_TIMEOUT_S
    wait_timeout_s: float | None = None
    accept_base: bool = False


def check_host(
    services: Services, plan: Plan, instances: Iterable[Instance] = (), project: Project | None = None
) -> tuple[Warned, ...]:
    """Make sure that the host has what a plan needs, before anything is done; returns what is to be said of it.

    instances: what there is: a VM that exists has its own backend. project: whose VMs these are, to point at the one that needs
    what is missing. Raises: see `Backend.check_host`.
    """
    known = {instance.name: instance.record.backend for instance in instances}
    # One that is demanded, and does not work, is told with the VM that demands it.
    wanted: dict[tuple[str, Accelerator], list[VmSpec]] = {}
    for operation in plan.operations:
        if operation.needs_host and operation.spec:
            spec = services.to_start(operation.spec)
            name = known.get(operation.vm, services.backend_name)
            wanted.setdefault((name, spec.accelerator), []).append(replace(spec, span=operation.span))
    warned: list[Warned] = []
    for (name, _), specs in wanted.items():
        try:
            warnings = services.backend(name).check_host(tuple(specs))
        except KvmUnusable as finding:
            finding.enrich(labels=_demanded_by(services, specs[0], project))
            raise
        warned += (Warned(specs[0].name if len(plan.vms) == 1 else None, warning) for warning in warnings)
    return tuple(warned)


def _demanded_by(services: Services, spec: VmSpec, project: Project | None) -> tuple[Label, ...]:
    """The VM that demands KVM, unless an option does."""
    if project is None or spec.span is None or services.accelerator is not None:
        return ()
    return (Label(project.source, spec.span, 'this VM has `accel "kvm"`'),)


class Run:
    """Applies the operations on one VM, in order.

    vm: the VM as it is held; None: there is none yet. slept: whether its guest has stood still before.
    """

    def __init__(
        self, services: Services, name: str, vm: Vm | None, options: RunOptions, *, slept: bool = False
    ) -> None:
        self._services, self._name, self._held, self._options = services, name, vm, options
        self._done: list[Done] = []
        self._digest: Digesting | None = None
        self._fetched = self._booted = False
        self._slept = slept

    def apply(self, operations: Sequence[Operation]) -> tuple[Done, ...]:
        """Carry them out; returns what was done."""
        try:
            require_ports(self._services, operations, self._held)
            require_bridges(self._services, operations, self._held, self._options.project)
            for operation in operations:
                self._apply(operation)
        except BaseException as error:
            if isinstance(error, (PortInUse, PortUnavailable)):
                point_at_forward(error, operations, self._options.project)
            with suppress(VmError):
                self._note_content(wait=False)
            raise
        self._note_content(wait=True)
        return tuple(self._done)

    def _note_content(self, *, wait: bool) -> None:
        """Write down what is in the image below the disk: later, only that tells whether it is the same."""
        if self._digest is None or self._held is None or not self._services.store.exists(self._name):
            return
        record = self._held.record
        base = with_content(record.base_image, self._digest, wait=wait)
        if base != record.base_image:
            self._held.write(replace(record, base_image=base))

    def _apply(self, operation: Operation) -> None:
        match operation.action:
            case Action.FETCH:
                self._fetch(_spec(operation))
            case Action.CREATE:
                self._create(_spec(operation))
            case Action.REPLACE:
                self._replace(operation)
            case Action.START:
                self._start(operation)
            case Action.RESUME:
                self._resume()
            case Action.SUSPEND:
                self._suspend()
            case Action.SAVE:
                self._save()
            case Action.RESTORE:
                self._tell(operation.notices)
                self._restore()
            case Action.DISCARD:
                self._discard()
            case Action.WAIT:
                self._tell(operation.notices)
                self._wait(_spec(operation), operation.wait_for)
            case Action.PROVISION:
                self._provision(_spec(operation), operation.steps)
            case Action.STOP:
                self._stop()
            case Action.DESTROY:
                self._destroy(operation)
            case Action.NOTHING:
                self._done.append(Done(Action.NOTHING, cause=operation.cause))

    @contextmanager
    def _step(self, name: str, done: Done) -> Iterator[Step]:
        """A step on this VM that is a part of what was done."""
        with step(self._services, self._name, name, done) as current:
            yield current
        self._done.append(current.done)

    @contextmanager
    def _image_of(self, spec: VmSpec) -> Iterator[None]:
        """Point at the image in the VMFile when it is what a step fails at."""
        try:
            yield
        except (ImageError, RemoteError) as error:
            error.enrich(labels=image_labels(self._options.project, spec.image))
            raise

    def _tell(self, notices: Iterable[str]) -> None:
        for notice in notices:
            self._services.emit(Noticed(self._name, notice))

    @property
    def _vm(self) -> Vm:
        assert self._held is not None, "an operation on a machine comes behind the one that makes it"
        return self._held

    def _fetch(self, spec: VmSpec) -> None:
        from vm_manager.app.create import fetch_image

        with self._step("fetch", Done(Action.FETCH)) as current, self._image_of(spec):
            fetched = fetch_image(self._services, spec).fetched
            current.done = replace(current.done, from_cache=not fetched)
        self._fetched = True

    def _create(self, spec: VmSpec) -> None:
        from vm_manager.app.create import create_instance

        services = self._services
        with self._step("create", Done(Action.CREATE, from_cache=self._is_cached(spec))):
            with self._image_of(spec), services.store.creating(self._name) as staging:
                record = create_instance(services, spec, self._origin, staging)
            self._appeared(record)

    def _appeared(self, record: InstanceRecord) -> None:
        """The VM has its name: take it up. One that its hypervisor refuses is removed again."""
        self._held = Vm(self._services, record)
        self._digest = begin_digest(self._services, record.base_image)
        try:
            self._held.machine.placed()
        except BaseException:
            self._services.store.remove(self._name)
            raise

    @property
    def _origin(self) -> str:
        return str(self._options.project.path) if self._options.project else CREATED_BY_HAND

    def _is_cached(self, spec: VmSpec) -> bool:
        return bool(spec.image.url) and not self._fetched

    def _replace(self, operation: Operation) -> None:
        """Make the new VM beside the old one, and only when it is complete end the old one and let them change places."""
        from vm_manager.app.create import create_instance

        services, old, spec = self._services, self._vm, _spec(operation)
        with services.store.creating(self._name, replacing=True) as staging:
            done = Done(Action.REPLACE, from_cache=self._is_cached(spec))
            with step(services, self._name, "create", done) as current, self._image_of(spec):
                keep_drives(old.files, staging)
                record = create_instance(services, spec, self._origin, staging)
            if operation.stops:
                self._stop()
            # Not before: until then the guest writes to it.
            discarded = written_bytes(old.files.overlay)
        self._appeared(record)
        self._done.append(replace(current.done, size_bytes=discarded, saved_state=operation.saved_state))

    def _start(self, operation: Operation) -> None:
        services, vm, spec = self._services, self._vm, _spec(operation)
        with self._step("start", Done(Action.START)) as current:
            base = self._base()
            self._mend_seed()
            # Once more: the command that created the VM may have been killed before it did so.
            vm.machine.placed()
            # Before the machine runs: should we die in between, a fresh boot must not pass for a ready guest.
            progress = replace(vm.record.progress, started=True, ready=False, done=())
            self._tell(operation.notices)
            vm.write(replace(vm.record, base_image=base, spec=spec, progress=progress))
            self._power_on(services.to_start(spec))
            current.done = replace(current.done, ssh=self._sshd())
        guests = services.backend(vm.record.backend).capabilities().guests
        if not (vm.record.has_login and guests):
            vm.note(replace(vm.record.progress, ready=True))

    def _sshd(self) -> Endpoint | None:
        """Where the guest's sshd is reached: no plan knows that, as the hypervisor takes a free port when it starts."""
        return self._vm.machine.observe().ssh

    def _base(self) -> BaseImage:
        project = self._options.project
        wanted = next((it.image for it in project.specs if it.name == self._name), None) if project else None
        base = require_base(self._services, self._vm.record, accept=self._options.accept_base, wanted=wanted)
        self._digest = begin_digest(self._services, base)
        return base

    def _mend_seed(self) -> None:
        from vm_manager.app.seed import restore_seed

        if restore_seed(self._vm.record, self._vm.files, self._vm.machine.macs()):
            self._services.emit(Noticed(self._name, "its cloud-init seed was missing: made again, as it was"))

    def _power_on(self, spec: VmSpec) -> None:
        """spec: as the machine is started this time, which is not written down."""
        services, vm = self._services, self._vm
        data = services.machine(replace(vm.record, spec=spec)).start(services.cancel, services.emit)
        vm.write(replace(vm.record, backend_data=data))
        self._booted = True

    def _emulate(self, finding: KvmUnusable) -> None:
        """Start a machine that KVM does not boot once more, without. Raises: `finding` where KVM is demanded."""
        services, vm = self._services, self._vm
        spec = services.to_start(vm.record.spec)
        if spec.accelerator is Accelerator.KVM:
            raise finding
        note = "restarted without KVM, emulated in software (TCG): slower, but otherwise the same"
        services.emit(Warned(vm.name, finding.enrich(notes=(note,), subject=services.subject(vm.name)).as_warning()))
        # Else whoever looks meanwhile, or after we were killed, would take that end for an accident.
        with suppress(VmError):
            record_begun(vm.files.journal, "stop")
        vm.machine.destroy()
        self._power_on(replace(spec, accelerator=Accelerator.TCG))
        with suppress(VmError):
            record_success(vm.files.journal, "start")

    def _resume(self) -> None:
        with self._step("resume", Done(Action.RESUME)):
            self._vm.machine.resume()
            self._slept = True

    def _suspend(self) -> None:
        with self._step("suspend", Done(Action.SUSPEND)):
            self._vm.machine.suspend()

    def _save(self) -> None:
        services = self._services
        with self._step("suspend", Done(Action.SAVE)) as current:
            size = self._vm.machine.saved_state().save(services.cancel, services.emit)
            current.done = replace(current.done, size_bytes=size)

    def _restore(self) -> None:
        services, vm = self._services, self._vm
        with self._step("resume", Done(Action.RESTORE)) as current:
            record = replace(vm.record, base_image=self._base())
            self._mend_seed()
            with suppress(VmError):
                record_begun(vm.files.journal, "restore")
            data = services.machine(record).saved_state().restore(services.cancel, services.emit)
            self._slept = True
            vm.write(replace(record, backend_data=data))
            current.done = replace(current.done, ssh=self._sshd())

    def _discard(self) -> None:
        with self._step("discard", Done(Action.DISCARD)) as current:
            current.done = replace(current.done, size_bytes=self._vm.machine.saved_state().discard())

    def _wait(self, spec: VmSpec, goal: WaitFor) -> None:
        from vm_manager.app.reach import wait_for_guest

        services, vm = self._services, self._vm
        ready = goal is WaitFor.READY
        on_error = spec.cloud_init.on_error if spec.cloud_init else OnError.FAIL
        with self._step("wait", Done(Action.WAIT, wait_for=goal)):
            try:
                timeout_s = self._options.wait_timeout_s or spec.boot_timeout_s
                wait = partial(
                    wait_for_guest,
                    services,
                    timeout_s=timeout_s,
                    on_error=on_error,
                    login_only=not ready,
                    slept=self._slept,
                )
                try:
                    wait(vm.record, booting=self._booted)
                except KvmUnusable as finding:
                    self._emulate(finding)
                    wait(vm.record)
                    vm.machine.distrust(finding)
            except (CloudInitFailed, MountFailed):
                raise  # they bring their own evidence; the console shows nothing that is not in it
            except (GuestError, SshError) as error:
                shown = {evidence.kind for evidence in error.diagnostic.evidence}
                more = vm.machine.evidence()
                error.enrich(evidence=tuple(evidence for evidence in more if evidence.kind not in shown))
                if isinstance(error, (AuthFailed, NoShell)):
                    error.enrich(labels=user_labels(self._options.project, spec))
                raise
        reached = vm.record.progress.reached or ready
        vm.note(
            replace(
                vm.record.progress,
                ready=ready,
                reached=reached,
                host_key_verified=True,
                mounted=bool(vm.record.spec.mounts),
            )
        )

    def _provision(self, spec: VmSpec, chosen: Sequence[int]) -> None:
        from vm_manager.app.provision import run_steps

        assert self._options.project is not None, "only VMFiles have provisioners"
        progress = before_steps(spec, self._vm.record.progress)
        self._done.append(run_steps(self._services, self._vm, spec, self._options.project, chosen, progress))

    def _stop(self) -> None:
        vm = self._vm
        self._power_off(vm.machine)
        vm.note(replace(vm.record.progress, ready=False, done=()))

    def stop_without_record(self) -> tuple[Done, ...]:
        """Power off a VM whose record is damaged; that stays as it is. Returns what was done."""
        self._power_off(self._services.remnant(self._name))
        return tuple(self._done)

    def _power_off(self, machine: Remnant) -> None:
        services = self._services
        # Before it is made to end: whoever looks meanwhile must not take that for an accident.
        with suppress(VmError):
            record_begun(services.store.files(self._name).journal, "stop")
        with self._step("stop", Done(Action.STOP)):
            machine.stop(Deadline(self._options.stop_timeout_s, services.cancel), services.emit)

    def _destroy(self, operation: Operation) -> None:
        services, vm = self._services, self._held
        with self._step("destroy", Done(Action.DESTROY, saved_state=operation.saved_state)):
            (vm.machine if vm else services.remnant(self._name)).destroy()
            services.store.remove(self._name)


def _spec(operation: Operation) -> VmSpec:
    assert operation.spec is not None, "a plan says what the VM is to be"
    return operation.spec
