"""Whether a VM can be moved from where it is."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.diagnostics.errors import InvalidState
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.instance import Instance, Snapshot
from vm_manager.planning.shares import require_no_shares
from vm_manager.planning.table import Verb, cell


def require_movable(instance: Instance, snapshots: Sequence[Snapshot]) -> None:
    """Raises: `vm::invalid_state`, with the way out."""
    cell(Verb.MIGRATE, instance)
    require_no_shares(Verb.MIGRATE, instance)
    if snapshots:
        name = instance.name
        # They are inside the disk's file; a mirror copies what the guest sees of it.
        raise InvalidState(
            "VM '{name}' has snapshots, which cannot be migrated",
            {"name": name, "snapshots": len(snapshots)},
            help=(
                f"`vmctl snapshot list {name}` lists them; delete each one: `vmctl snapshot delete {name} {snapshots[0].tag}`",
            ),
            subject=Subject(vm=name),
        )
