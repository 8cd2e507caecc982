"""What `vmctl down` has to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Operation, Plan
from vm_manager.planning.table import Verb, cell


def plan_down(names: Iterable[str], instances: Mapping[str, Instance], *, destroy: bool) -> Plan:
    """The operations that stop, and with `destroy` remove, the VMs."""
    return Plan(tuple(operation for name in names for operation in _one(name, instances.get(name), destroy)))


def _one(name: str, instance: Instance | None, destroy: bool) -> Iterable[Operation]:
    if instance is None:
        yield Operation(name, Action.NOTHING, "does not exist")
        return
    todo = cell(Verb.DOWN_DESTROY if destroy else Verb.DOWN, instance)
    if isinstance(todo, str):
        yield Operation(name, Action.NOTHING, todo)
        return
    cause = "destroy requested" if destroy else "saved to disk" if instance.saved else "running"
    for action in todo:
        yield Operation(name, action, cause, spec=instance.record.spec, saved_state=destroy and instance.saved)
