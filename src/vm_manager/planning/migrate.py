"""Whether a VM can be moved from where it is."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.diagnostics.errors import InvalidState
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.instance import Instance, Snapshot
from vm_manager.planning.lifecycle import Situation, situation

_WAYS_OUT = {
    Situation.OFF: "start it first: `vmctl start {name}`",
    Situation.SUSPENDED: "let it run first: `vmctl resume {name}`",
    Situation.SAVED: "let it run first: `vmctl resume {name}`",
    Situation.BLOCKED: "mend what stopped it (`vmctl status {name}` says what), then `vmctl resume {name}`",
    Situation.CRASHED: "boot it anew with `vmctl restart {name}`",
}


def require_movable(instance: Instance, snapshots: Sequence[Snapshot]) -> None:
    """Raises: `vm::invalid_state`, with the way out."""
    here, name = situation(instance), instance.name
    if here is not Situation.RUNNING:
        raise InvalidState(
            "VM '{name}' is {state}, and only one that runs can be moved",
            {"name": name, "state": instance.state},
            help=(_WAYS_OUT[here].format(name=name),),
            subject=Subject(vm=name),
        )
    if snapshots:
        # They are inside the disk's file; a mirror copies what the guest sees of it.
        raise InvalidState(
            "VM '{name}' has snapshots, which would not move with it",
            {"name": name, "snapshots": len(snapshots)},
            help=(
                f"`vmctl snapshot list {name}` shows them; remove each: `vmctl snapshot delete {name} {snapshots[0].tag}`",
            ),
            subject=Subject(vm=name),
        )
