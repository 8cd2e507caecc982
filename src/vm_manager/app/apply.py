"""Carrying out a plan on one VM, operation by operation. All decisions are in the plan; nothing is decided here.

What fetches images, logs in and provisions is imported by the operations that need it: stopping a VM must not cost that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from vm_manager.app.base_image import require_base
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.diagnostics.errors import (
    BackendNotAvailable,
    CloudInitFailed,
    GuestError,
    KvmUnusable,
    SshError,
    StateCorrupt,
    StateUntrusted,
    VmError,
    VmNotFound,
)
from vm_manager.domain.backend import Backend
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Warned
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.plan import Action, Operation, WaitFor
from vm_manager.domain.spec import Accelerator, OnError, VmSpec
from vm_manager.planning.changes import startable
from vm_manager.state.files import written_bytes
from vm_manager.state.journal import record_begun, record_success

if TYPE_CHECKING:
    from vm_manager.vmfile.load import Project

#: How long a guest may take to shut down by itself, in seconds, where nothing else is said.
STOP_TIMEOUT_S = 30.0
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Wanted:
    """What a VM shall be. origin: where that is written; project: the VMFile it is from, None for a VM from options."""

    spec: VmSpec
    origin: str
    project: Project | None = None


class Run:
    """Applies the operations on one VM, in order.

    wanted: for operations that make or change a VM; None: it stays what its record says.
    stop_timeout_s: how long the guest may take to shut down before it is made to.
    wait_timeout_s: how long it may take to get ready; None: what its spec says, else what the accelerator makes reasonable.
    """

    def __init__(
        self,
        services: Services,
        vm: str,
        wanted: Wanted | None = None,
        *,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        wait_timeout_s: float | None = None,
    ) -> None:
        self._services, self._vm, self._wanted = services, vm, wanted
        self._stop_timeout_s, self._wait_timeout_s = stop_timeout_s, wait_timeout_s
        self._done: list[str] = []
        self._fetched = self._booted = False

    def apply(self, operations: Sequence[Operation]) -> str:
        """Carry them out; returns what was done, past tense."""
        for operation in operations:
            self._apply(operation)
        return ", ".join(self._done)

    def _apply(self, operation: Operation) -> None:
        match operation.action:
            case Action.FETCH:
                self._fetch()
            case Action.CREATE:
                self._create()
            case Action.REPLACE:
                self._replace()
            case Action.START:
                self._start()
            case Action.RESUME:
                self._resume()
            case Action.SUSPEND:
                self._suspend()
            case Action.SAVE:
                self._save()
            case Action.RESTORE:
                self._restore()
            case Action.DISCARD:
                self._discard()
            case Action.WAIT:
                self._wait(operation.wait_for)
            case Action.PROVISION:
                self._provision(operation.steps)
            case Action.STOP:
                self._stop()
            case Action.DESTROY:
                self._destroy()
            case Action.NOTHING:
                self._done.append(operation.cause)

    @property
    def _new(self) -> Wanted:
        assert self._wanted is not None, "an operation that makes a VM needs to know what it shall be"
        return self._wanted

    def _fetch(self) -> None:
        from vm_manager.app.create import fetch_image

        with step(self._services, self._vm, "fetch", "fetching the image", "fetched the image") as told:
            if not fetch_image(self._services, self._new.spec).fetched:
                told.outcome = "the image is in the cache: it was fetched meanwhile"
        self._fetched = True

    def _create(self) -> None:
        from vm_manager.app.create import create_instance

        with (
            step(self._services, self._vm, "create", "creating", self._created("created")),
            self._services.store.creating(self._vm) as staging,
        ):
            create_instance(self._services, self._new.spec, self._new.origin, staging)
        self._done.append("created")

    def _created(self, outcome: str) -> str:
        from_cache = bool(self._new.spec.image.url) and not self._fetched
        return f"{outcome}, with the image from the cache" if from_cache else outcome

    def _replace(self) -> None:
        """Make the new VM beside the old one, and only when it is complete end the old one and let them change places."""
        from vm_manager.app.create import create_instance

        services = self._services
        with services.store.creating(self._vm, replacing=True) as staging:
            with step(
                services, self._vm, "create", "making the new VM beside the old one", self._created("made the new VM")
            ):
                create_instance(services, self._new.spec, self._new.origin, staging)
            old = services.look(self._vm)
            if old.alive:
                self._stop()
            discarded = written_bytes(services.store.files(self._vm).overlay)
            memory = " and its saved state" if old.saved else ""
        self._done.append(f"replaced by a new VM, discarding a disk with {discarded // _MIB} MiB of changes{memory}")

    def _start(self) -> None:
        services = self._services
        record = services.store.read(self._vm)
        backend = services.backend(record.backend)
        with step(services, self._vm, "start", "starting", "started") as told:
            record = replace(record, base_image=require_base(record))
            # Before the machine runs: should we die in between, a fresh boot must not pass for a ready guest.
            before = record.progress
            started = replace(before, started=True, ready=False, steps_done=0)
            spec = startable(record.spec, self._wanted.spec) if self._wanted else record.spec
            record = replace(record, spec=spec, progress=started)
            services.store.write(record)
            record = self._power_on(record, services.to_start(spec))
            told.outcome = f"started{_where(services, record)}"
        if not (record.has_login and backend.capabilities().guests):
            services.note_progress(record, replace(record.progress, ready=True))
        self._done.append("started")

    def _power_on(self, record: InstanceRecord, spec: VmSpec) -> InstanceRecord:
        """spec: as the machine is started this time, which is not written down."""
        services = self._services
        backend, home = services.backend(record.backend), services.home(self._vm)
        data = backend.start(replace(record, spec=spec), home, services.cancel, services.emit)
        record = replace(record, backend_data=data)
        services.store.write(record)
        self._booted = True
        return record

    def _emulate(self, record: InstanceRecord, finding: KvmUnusable) -> InstanceRecord:
        """Start a machine that KVM does not boot once more, without. Raises: `finding` where KVM is demanded."""
        services = self._services
        spec = services.to_start(record.spec)
        if spec.accelerator is Accelerator.KVM:
            raise finding
        note = "it is started once more, emulated in software (TCG): slower, otherwise the same"
        services.emit(Warned(self._vm, finding.enrich(notes=(note,), subject=services.subject(self._vm)).as_warning()))
        journal = services.store.files(self._vm).journal
        # Else whoever looks meanwhile, or after we were killed, would take that end for an accident.
        with suppress(VmError):
            record_begun(journal, "stop")
        services.backend(record.backend).destroy(services.home(self._vm))
        record = self._power_on(record, replace(spec, accelerator=Accelerator.TCG))
        with suppress(VmError):
            record_success(journal, "start")
        return record

    def _resume(self) -> None:
        record = self._services.store.read(self._vm)
        with step(self._services, record.name, "resume", "resuming", "resumed"):
            self._services.backend(record.backend).resume(record, self._services.home(record.name))
        self._done.append("resumed")

    def _suspend(self) -> None:
        record = self._services.store.read(self._vm)
        with step(self._services, record.name, "suspend", "suspending", "suspended"):
            self._services.backend(record.backend).suspend(record, self._services.home(record.name))
        self._done.append("suspended")

    def _save(self) -> None:
        services = self._services
        record, files = services.store.read(self._vm), services.store.files(self._vm)
        with step(services, self._vm, "suspend", "saving to disk", "saved to disk") as told:
            services.backend(record.backend).save(record, files.home, services.cancel, services.emit)
            told.outcome = f"saved to disk ({written_bytes(files.saved_state) // _MIB} MiB)"
        self._done.append("saved to disk")

    def _restore(self) -> None:
        services = self._services
        record = services.store.read(self._vm)
        backend, home = services.backend(record.backend), services.home(self._vm)
        with step(services, self._vm, "resume", "restoring from disk", "restored") as told:
            record = replace(record, base_image=require_base(record))
            with suppress(VmError):
                record_begun(services.store.files(self._vm).journal, "restore")
            record = replace(record, backend_data=backend.restore(record, home, services.cancel, services.emit))
            services.store.write(record)
            told.outcome = f"restored{_where(services, record)}"
        self._done.append("restored")

    def _discard(self) -> None:
        with step(self._services, self._vm, "discard", "discarding the saved state", "discarded the saved state"):
            discarded = self._services.store.discard_saved_state(self._vm)
        self._done.append(f"discarded {discarded // _MIB} MiB of saved state")

    def _wait(self, goal: WaitFor) -> None:
        from vm_manager.app.reach import wait_for_guest

        services = self._services
        record = services.store.read(self._vm)
        spec = self._wanted.spec if self._wanted else record.spec
        ready = goal is WaitFor.READY
        outcome = "ready" if ready else "reachable by SSH"
        on_error = spec.cloud_init.on_error if spec.cloud_init else OnError.FAIL
        with step(services, record.name, "wait", "waiting for the guest", outcome):
            try:
                timeout_s = self._wait_timeout_s or spec.boot_timeout_s
                wait = partial(wait_for_guest, services, timeout_s=timeout_s, on_error=on_error, login_only=not ready)
                try:
                    wait(record, booting=self._booted)
                except KvmUnusable as finding:
                    record = self._emulate(record, finding)
                    wait(record)
                    services.backend(record.backend).distrust(record, finding)
            except CloudInitFailed:
                raise  # it brings its own evidence; the console shows nothing that is not in it
            except (GuestError, SshError) as error:
                shown = {evidence.kind for evidence in error.diagnostic.evidence}
                more = services.backend(record.backend).evidence(record, services.home(record.name))
                error.enrich(evidence=tuple(evidence for evidence in more if evidence.kind not in shown))
                raise
        reached = record.progress.reached or ready
        progress = replace(record.progress, ready=ready, reached=reached, host_key_verified=True)
        services.note_progress(record, progress)
        self._done.append(outcome)

    def _provision(self, chosen: Sequence[int]) -> None:
        from vm_manager.app.provision import run_steps, steps

        project, spec = self._new.project, self._new.spec
        assert project is not None, "only VMFiles have provisioners"
        run_steps(self._services, self._services.store.read(self._vm), spec, project, chosen)
        self._done.append(f"provisioned ({steps(len(chosen))})")

    def _stop(self) -> None:
        services = self._services
        record = services.store.read(self._vm)
        self._power_off(services.backend(record.backend))
        services.note_progress(record, replace(record.progress, ready=False, steps_done=0))

    def stop_without_record(self) -> str:
        """Power off a VM whose record is damaged; that stays as it is. Returns what was done, past tense."""
        self._power_off(_backend_of(self._services, self._vm))
        return ", ".join(self._done)

    def _power_off(self, backend: Backend) -> None:
        services = self._services
        # Before it is made to end: whoever looks meanwhile must not take that for an accident.
        with suppress(VmError):
            record_begun(services.store.files(self._vm).journal, "stop")
        with step(services, self._vm, "stop", "stopping", "stopped"):
            deadline = Deadline(self._stop_timeout_s, services.cancel)
            backend.stop(self._vm, services.home(self._vm), deadline, services.emit)
        self._done.append("stopped")

    def _destroy(self) -> None:
        with step(self._services, self._vm, "destroy", "destroying", "destroyed"):
            saved = self._services.store.files(self._vm).saved_state.exists()
            _backend_of(self._services, self._vm).destroy(self._services.home(self._vm))
            self._services.store.remove(self._vm)
        self._done.append("destroyed, with its saved state" if saved else "destroyed")


def _backend_of(services: Services, vm: str) -> Backend:
    """The VM's backend; one whose record is lost or gone, or names a backend we do not know, must still end."""
    try:
        return services.backend(services.store.read(vm).backend)
    except (StateCorrupt, StateUntrusted, BackendNotAvailable, VmNotFound):
        backup = services.store.read_backup(vm)
        with suppress(BackendNotAvailable):
            return services.backend(backup.backend if backup else None)
        return services.backend()


def _where(services: Services, record: InstanceRecord) -> str:
    endpoint = services.backend(record.backend).observe(record, services.home(record.name)).ssh
    return f", SSH on {endpoint.host}:{endpoint.port}" if endpoint else ""
