"""What `vmctl up` has to do: wanted VMs against what there is. All decisions are here; whoever applies a plan takes none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from vm_manager.domain.instance import Instance, Progress, VmState
from vm_manager.domain.plan import Action, Operation, Plan, WaitFor
from vm_manager.domain.spec import VmSpec
from vm_manager.planning.changes import changed_at_creation, changed_at_start, changed_drives, startable
from vm_manager.planning.steps import steps_to_do, why_steps
from vm_manager.planning.table import Verb, cell

_Edited = Mapping[str, tuple[str, ...]]
_IN_THE_GUEST = (Action.WAIT, Action.PROVISION)


def plan_up(
    specs: Iterable[VmSpec],
    instances: Mapping[str, Instance],
    cached_urls: Collection[str],
    *,
    without_guests: Collection[str] = (),
    provision: bool = True,
    wait: WaitFor = WaitFor.READY,
    edited: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Plan:
    """The operations that make every VM of `specs` exist, run, be ready and be provisioned.

    instances: what there is, by name.
    cached_urls: the image URLs that need no download.
    without_guests: names whose backend runs no guests that could be waited for and provisioned.
    edited: by name, what names a file that was edited since the VM was made, in the VMFile's words.
    provision: False leaves out the provisioners. wait: for what; with less than READY nothing is provisioned.
    """
    operations: list[Operation] = []
    for wanted in specs:
        instance = instances.get(wanted.name)
        # What was fixed at creation counts, not what the VMFile says now.
        spec = startable(instance.record.spec, wanted) if instance else wanted
        todo: list[Operation] = []
        if instance is None:
            if spec.image.url and spec.image.url not in cached_urls:
                todo.append(_operation(spec, Action.FETCH, "image not in the cache"))
            todo.append(_operation(spec, Action.CREATE, "does not exist"))
        todo += [*_run(wanted, instance, edited), *_reach(spec, wanted, instance, provision, wait)]
        if spec.name in without_guests:
            todo = [operation for operation in todo if operation.action not in _IN_THE_GUEST]
        operations += [
            replace(operation, spec=spec if operation.action is Action.START else wanted) for operation in todo
        ] or [_operation(wanted, Action.NOTHING, _already_running(wanted, instance, edited))]
    return Plan(tuple(operations))


def _run(spec: VmSpec, instance: Instance | None, edited: _Edited) -> Iterable[Operation]:
    """Power on."""
    if instance is None:
        yield _operation(spec, Action.START, "new")
        return
    todo = cell(Verb.UP, instance)
    for action in () if isinstance(todo, str) else todo:
        match action:
            case Action.RESTORE:
                late = _at_restart(spec, instance)
                restored = _operation(spec, action, f"saved to disk{_changed(spec, instance, edited)}")
                yield replace(restored, notices=(late,) if late else ())
            case Action.START:
                notices = changed_drives(instance, spec)
                cause = f"{'; '.join((_why_start(instance), *notices))}{_kept(spec, instance, edited)}"
                yield replace(_operation(spec, action, cause), notices=notices)
            case Action.RESUME:
                yield _operation(spec, action, "suspended")


def _why_start(instance: Instance) -> str:
    return "last start failed" if instance.state is VmState.FAILED else str(instance.state)


def _reach(
    spec: VmSpec, wanted: VmSpec, instance: Instance | None, provision: bool, wait: WaitFor
) -> Iterable[Operation]:
    """Wait and provision, as far as each is still to be done since the last start."""
    if not spec.is_reachable or wait is WaitFor.NONE:
        return
    progress = instance.record.progress if instance and (instance.alive or instance.saved) else None
    seeded = instance.record.seeded if instance else spec.has_seed
    can_log_in = seeded or spec.ssh or spec.provisioners
    if can_log_in and not (progress and progress.ready and instance and instance.alive and not _sleeps(instance)):
        # It may be one of these that the guest does not get ready for.
        late = _at_restart(wanted, instance) if instance and instance.alive else ""
        cause = f"{_why_wait(instance)}{late and '; '}{late}"
        yield replace(_operation(spec, Action.WAIT, cause), wait_for=wait, notices=(late,) if late else ())
    # A machine that is started anew may have lost what its steps had done, but for those that run once.
    reached = instance.record.progress if instance else Progress()
    before = reached if progress else replace(reached, done=())
    steps = steps_to_do(spec, before)
    if provision and steps and wait is WaitFor.READY:
        yield _operation(spec, Action.PROVISION, why_steps(spec, before, steps), steps)


def _sleeps(instance: Instance) -> bool:
    """Whether it has stood still, and may have to be told the time."""
    return instance.state is VmState.SUSPENDED


def _why_wait(instance: Instance | None) -> str:
    if instance and instance.saved:
        return "resuming from disk"
    if instance and _sleeps(instance):
        return "resuming"
    return "not ready yet" if instance and instance.alive else "starting"


def _already_running(spec: VmSpec, instance: Instance | None, edited: _Edited) -> str:
    if instance is None:
        return "already running"
    return f"already running{_changed(spec, instance, edited)}"


def _changed(spec: VmSpec, instance: Instance, edited: _Edited) -> str:
    """What was changed and is not taken up by a VM that goes on."""
    restart = _at_restart(spec, instance)
    return f"{restart and '; '}{restart}{_kept(spec, instance, edited)}"


def _at_restart(spec: VmSpec, instance: Instance) -> str:
    changed = changed_at_start(instance.record.spec, spec)
    return f"{', '.join(changed)} changed: takes effect after `vmctl down` and `vmctl up`" if changed else ""


def _kept(spec: VmSpec, instance: Instance, edited: _Edited) -> str:
    changed = dict.fromkeys((*changed_at_creation(instance.record.spec, spec), *edited.get(spec.name, ())))
    return f"; {', '.join(changed)} changed: takes effect after `vmctl reload`" if changed else ""


def _operation(spec: VmSpec, action: Action, cause: str, steps: tuple[int, ...] = ()) -> Operation:
    return Operation(spec.name, action, cause, steps, spec.span)
