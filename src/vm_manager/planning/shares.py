"""What cannot be done with a VM whose guest has directories of the host: nobody can save what is between the two."""

from __future__ import annotations

from vm_manager.diagnostics.errors import InvalidState
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.instance import Instance
from vm_manager.planning.table import Verb

# With 9p, too, QEMU refuses as long as the guest has mounted them.
_WHAT = {
    Verb.SAVE: "cannot be saved to disk",
    Verb.MIGRATE: "cannot be migrated",
    Verb.SNAPSHOT_CREATE: "cannot be snapshotted while it runs",
    Verb.SNAPSHOT_RESTORE: "cannot go back to a snapshot with memory",
}
_INSTEAD = {
    Verb.SAVE: "to pause it in memory, `vmctl suspend {name}`; to power it off, `vmctl stop {name}`",
    Verb.MIGRATE: "stop it and copy its directory: `vmctl stop {name}`; it is {home}",
    Verb.SNAPSHOT_CREATE: "stop it first, `vmctl stop {name}`: the snapshot then holds the disks",
    Verb.SNAPSHOT_RESTORE: "remove the `mount` lines from the VMFile, `vmctl down {name}` and `vmctl up {name}`, then restore it",
}


def require_no_shares(verb: Verb, instance: Instance) -> None:
    """Raises: `vm::invalid_state` where the VM has shared directories, with what can be done instead."""
    name, mounts = instance.name, instance.record.spec.mounts
    if not mounts or verb not in _WHAT:
        return
    raise InvalidState(
        "VM '{name}' {what}: it has shared directories",
        {"name": name, "what": _WHAT[verb], "mounts": len(mounts)},
        help=(_INSTEAD[verb].format(name=name, home=instance.home),),
        notes=("QEMU cannot save what the guest has open in them: " + ", ".join(mount.words for mount in mounts),),
        subject=Subject(vm=name),
    )
