"""`start`, `stop`, `restart`, `suspend` and `resume`: what they do with a VM from where it is."""

from __future__ import annotations

from vm_manager.domain.instance import Instance
from vm_manager.domain.plan import Action, Operation, Plan
from vm_manager.planning.shares import require_no_shares
from vm_manager.planning.table import Verb, cell


def plan_lifecycle(verb: Verb, instance: Instance, *, guests: bool) -> Plan:
    """The operations of a command on one VM.

    guests: whether its backend runs guests that could be waited for.
    Raises: `vm::invalid_state`, with what is allowed now.
    """
    todo = cell(verb, instance)
    if isinstance(todo, str):
        return Plan((Operation(instance.name, Action.NOTHING, todo),))
    if Action.SAVE in todo:
        require_no_shares(Verb.SAVE, instance)
    waits = guests and _can_get_ready(instance, booted=Action.START in todo)
    return Plan(
        tuple(
            Operation(instance.name, action, str(instance.state), spec=instance.record.spec)
            for action in todo
            if action is not Action.WAIT or waits
        )
    )


def _can_get_ready(instance: Instance, *, booted: bool) -> bool:
    """Whether to wait for the guest: as far as it has come before, and at its first start as far as it can."""
    progress = instance.record.progress
    if not instance.record.has_login:
        return False
    return (progress.reached or not progress.started) if booted else progress.ready
