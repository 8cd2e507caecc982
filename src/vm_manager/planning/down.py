"""What `vmctl down` has to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Operation, Plan


def plan_down(names: Iterable[str], instances: Mapping[str, Instance], *, destroy: bool) -> Plan:
    """The operations that stop, and with `destroy` remove, the VMs."""
    return Plan(tuple(_one(name, instances.get(name), destroy) for name in names))


def _one(name: str, instance: Instance | None, destroy: bool) -> Operation:
    if instance is None:
        return Operation(name, Action.NOTHING, "already absent")
    if destroy:
        return Operation(name, Action.DESTROY, "is to be destroyed")
    if instance.alive:
        return Operation(name, Action.STOP, "is running")
    return Operation(name, Action.NOTHING, "already stopped")
