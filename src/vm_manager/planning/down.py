"""What `vmctl down` has to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Operation, Plan


def plan_down(names: Iterable[str], instances: Mapping[str, Instance], *, destroy: bool) -> Plan:
    """The operations that stop, and with `destroy` remove, the VMs."""
    return Plan(tuple(operation for name in names for operation in _one(name, instances.get(name), destroy)))


def _one(name: str, instance: Instance | None, destroy: bool) -> Iterable[Operation]:
    if instance is None:
        yield Operation(name, Action.NOTHING, "already absent")
    elif destroy:
        yield Operation(name, Action.DESTROY, "is to be destroyed")
    elif instance.saved:
        # Its memory is not thrown away: it goes on, and shuts down in good order.
        yield Operation(name, Action.RESTORE, "is saved to disk")
        yield Operation(name, Action.STOP, "is saved to disk")
    elif instance.alive:
        yield Operation(name, Action.STOP, "is running")
    else:
        yield Operation(name, Action.NOTHING, "already stopped")
