"""What `vmctl reload` has to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Operation, Plan
from vm_manager.domain.spec import VmSpec
from vm_manager.planning.changes import changed_drives
from vm_manager.planning.up import plan_up


def plan_reload(
    specs: Iterable[VmSpec],
    instances: Mapping[str, Instance],
    cached_urls: Collection[str],
    *,
    without_guests: Collection[str] = (),
    provision: bool = True,
) -> Plan:
    """The operations that make every VM of `specs` anew and bring it up; see `plan_up` for the arguments."""
    anew = plan_up(specs, {}, cached_urls, without_guests=without_guests, provision=provision)
    return Plan(tuple(_replacing(operation, instances) for operation in anew.operations))


def _replacing(operation: Operation, instances: Mapping[str, Instance]) -> Operation:
    old = instances.get(operation.vm)
    if old is None:
        return operation
    match operation.action:
        case Action.CREATE:
            cause = str(old.state)
            return replace(operation, action=Action.REPLACE, cause=cause, stops=old.alive, saved_state=old.saved)
        case Action.START if operation.spec:
            return replace(operation, notices=changed_drives(old, operation.spec))
    return operation
