"""`vmctl snapshot`: states of a VM that can be gone back to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from vm_manager.app.apply import Run
from vm_manager.app.base_image import require_base
from vm_manager.app.fleet import Outcome, on_each
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.domain.instance import Snapshot
from vm_manager.domain.plan import Action, Operation
from vm_manager.planning.snapshots import require_possible, require_tag
from vm_manager.planning.table import Verb

_DONE = {
    Verb.SNAPSHOT_CREATE: ("keeping a snapshot", "kept snapshot"),
    Verb.SNAPSHOT_RESTORE: ("going back to a snapshot", "went back to snapshot"),
    Verb.SNAPSHOT_DELETE: ("removing a snapshot", "removed snapshot"),
}
_MIB = 1024 * 1024


def list_snapshots(services: Services, name: str) -> tuple[Snapshot, ...]:
    """The snapshots of a VM, oldest first. Raises: `vm::not_found`, `image::format_detection_failed`."""
    record = services.store.read(name)
    return services.backend(record.backend).snapshots(record, services.home(name))


def change_snapshots(services: Services, verb: Verb, name: str, tag: str | None) -> tuple[Outcome, ...]:
    """Create, go back to or delete one snapshot of a VM.

    tag: None: made from the time, for CREATE.
    Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; what else fails, such as `vm::invalid_state` and
    `qemu::job_failed`, is in the outcome.
    """
    tag = tag or datetime.now(UTC).strftime("at-%Y%m%d-%H%M%S")
    require_tag(tag)
    services.store.require(name)
    with services.locked([name], f"vmctl {verb}"):
        return on_each(services, [name], lambda vm: _change(services, verb, vm, tag))


def _change(services: Services, verb: Verb, vm: str, tag: str) -> str:
    instance = services.look(vm)
    require_possible(verb, instance, list_snapshots(services, vm), tag)
    doing, done = _DONE[verb]
    with step(services, vm, verb.value, doing, f"{done} {tag}") as told:
        match verb:
            case Verb.SNAPSHOT_CREATE:
                _create(services, vm, tag)
                made = next(kept for kept in list_snapshots(services, vm) if kept.tag == tag)
                told.outcome += (
                    f" ({made.memory_bytes // _MIB} MiB of memory)" if made.memory_bytes else " (disks only)"
                )
            case Verb.SNAPSHOT_RESTORE:
                _restore(services, vm, tag)
            case Verb.SNAPSHOT_DELETE:
                record = services.store.read(vm)
                services.backend(record.backend).delete_snapshot(record, services.home(vm), tag, services.cancel)
    if verb is Verb.SNAPSHOT_RESTORE and _can_be_waited_for(services, vm):
        return f"{told.outcome}, {Run(services, vm).apply((Operation(vm, Action.WAIT, 'went back in time'),))}"
    return told.outcome


def _create(services: Services, vm: str, tag: str) -> None:
    record = services.store.read(vm)
    services.backend(record.backend).create_snapshot(record, services.home(vm), tag, services.cancel)


def _restore(services: Services, vm: str, tag: str) -> None:
    record = services.store.read(vm)
    require_base(record)
    # Before the machine goes back: what provisioners have done since may be undone, so the next `up` runs them again.
    record = services.note_progress(record, replace(record.progress, started=True, ready=False, steps_done=0))
    backend = services.backend(record.backend)
    data = backend.restore_snapshot(record, services.home(vm), tag, services.cancel)
    services.store.write(replace(record, backend_data=data))


def _can_be_waited_for(services: Services, vm: str) -> bool:
    instance = services.look(vm)
    guests = services.backend(instance.record.backend).capabilities().guests
    return guests and instance.alive and instance.record.has_login and instance.record.progress.reached
