"""What `vmctl create` has to do: the beginning of what `vmctl up` does for a VM that does not exist."""

from __future__ import annotations

from collections.abc import Collection

from vm_manager.domain.plan import Action, Plan
from vm_manager.domain.spec import VmSpec
from vm_manager.planning.up import plan_up


def plan_create(spec: VmSpec, cached_urls: Collection[str], *, start: bool, guests: bool) -> Plan:
    """The operations that make a VM, and with `start` bring it up.

    cached_urls: the image URLs that need no download. guests: whether its backend runs guests that can be waited for.
    """
    plan = plan_up((spec,), {}, cached_urls, without_guests=() if guests else (spec.name,))
    made = (Action.FETCH, Action.CREATE)
    return plan if start else Plan(tuple(operation for operation in plan.operations if operation.action in made))
