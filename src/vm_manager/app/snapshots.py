"""`vmctl snapshot`: states of a VM that can be gone back to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from vm_manager.app.apply import Run, RunOptions
from vm_manager.app.base_image import require_base
from vm_manager.app.fleet import on_each
from vm_manager.app.holding import Vm, hold
from vm_manager.app.looking import require_possible
from vm_manager.app.services import Services
from vm_manager.app.steps import step
from vm_manager.app.strays import require
from vm_manager.domain.instance import Instance, InstanceRecord, Snapshot
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action, Operation
from vm_manager.planning.snapshots import require_fitting, require_tag
from vm_manager.planning.table import Verb


def list_snapshots(services: Services, name: str) -> tuple[Snapshot, ...]:
    """The snapshots of a VM, oldest first. Raises: `vm::not_found`, `image::format_detection_failed`."""
    return services.machine(services.store.read(name)).snapshots().all()


def change_snapshots(services: Services, verb: Verb, name: str, tag: str | None) -> tuple[Outcome, ...]:
    """Create, go back to or delete one snapshot of a VM.

    tag: None: made from the time, for CREATE.
    Raises: `vm::not_found`, `vmctl::usage`, `state::locked`; what else fails, such as `vm::invalid_state` and
    `qemu::job_failed`, is in the outcome.
    """
    tag = tag or datetime.now(UTC).strftime("at-%Y%m%d-%H%M%S")
    require_tag(tag)
    require(services, name)
    with hold(services, [name], f"vmctl {verb}") as held:
        return on_each(services, [name], lambda vm: _change(services, verb, held.of(services, vm), tag))


def _change(services: Services, verb: Verb, instance: Instance, tag: str) -> tuple[Done, ...]:
    require_possible(services, instance, verb)
    vm = Vm(services, instance.record)
    snapshots = vm.machine.snapshots()
    known = snapshots.all()
    require_fitting(verb, instance, known, tag)
    with step(services, vm.name, verb.value, Done(Action(verb.value), tag=tag)) as current:
        match verb:
            case Verb.SNAPSHOT_CREATE:
                snapshots.create(tag, services.cancel)
                made = next(kept for kept in snapshots.all() if kept.tag == tag)
                current.done = replace(current.done, size_bytes=made.memory_bytes)
            case Verb.SNAPSHOT_RESTORE:
                _restore(services, vm, tag)
            case Verb.SNAPSHOT_DELETE:
                snapshots.delete(tag, services.cancel)
    runs_on = verb is Verb.SNAPSHOT_RESTORE and any(kept.tag == tag and kept.memory_bytes for kept in known)
    if runs_on and _can_get_ready(services, vm.record):
        wait = Operation(vm.name, Action.WAIT, "was restored to a snapshot", spec=vm.record.spec)
        return (current.done, *Run(services, vm.name, vm, RunOptions(), slept=True).apply((wait,)))
    return (current.done,)


def _restore(services: Services, vm: Vm, tag: str) -> None:
    vm.write(replace(vm.record, base_image=require_base(services, vm.record)))
    # Before the machine goes back: what provisioners have done since may be undone, so the next `up` runs them again.
    vm.note(replace(vm.record.progress, started=True, ready=False, done=()))
    data = vm.machine.snapshots().restore(tag, services.cancel)
    vm.write(replace(vm.record, backend_data=data))


def _can_get_ready(services: Services, record: InstanceRecord) -> bool:
    guests = services.backend(record.backend).capabilities().guests
    return guests and record.has_login and record.progress.reached
