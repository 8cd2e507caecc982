"""Whether a VM's snapshots can be worked on from where it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vm_manager.diagnostics.errors import InvalidState, Usage
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.instance import ROOT_DISK, UEFI_VARIABLES, Instance, Snapshot
from vm_manager.domain.names import closest
from vm_manager.domain.spec import Firmware
from vm_manager.planning.shares import require_no_shares
from vm_manager.planning.situations import WAYS_OUT, Situation
from vm_manager.planning.table import Verb, cell, predicate

# Begins with a letter: qemu-img and QEMU take a number for the id of another snapshot.
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")


def require_tag(tag: str) -> None:
    """Raises: `vmctl::usage` for what can be no tag."""
    if not _TAG.fullmatch(tag):
        raise Usage(
            "invalid snapshot tag: '{tag}'",
            {"tag": tag},
            help=("use up to 63 letters, digits, `.`, `_` and `-`, starting with a letter",),
        )


def require_fitting(verb: Verb, instance: Instance, snapshots: Sequence[Snapshot], tag: str) -> None:
    """Raises: `vm::invalid_state`, with the way out."""
    name = instance.name
    known = {snapshot.tag: snapshot for snapshot in snapshots}
    if verb is Verb.SNAPSHOT_CREATE:
        if tag in known:
            raise _refused(
                instance,
                "VM '{name}' already has a snapshot '{tag}'",
                tag,
                f"choose another tag, or delete the snapshot: `vmctl snapshot delete {name} {tag}`",
            )
    elif tag not in known:
        near = closest(tag, tuple(known))
        meant = (f"did you mean '{near}'?",) if near else ()
        raise _refused(
            instance,
            "VM '{name}' has no snapshot '{tag}'",
            tag,
            *meant,
            f"`vmctl snapshot list {name}` lists its snapshots",
        )
    cell(verb, instance)
    if verb is Verb.SNAPSHOT_CREATE and instance.alive:
        require_no_shares(verb, instance)
    if verb is Verb.SNAPSHOT_RESTORE and known[tag].memory_bytes:
        require_no_shares(verb, instance)
    if verb is Verb.SNAPSHOT_RESTORE and known[tag].trouble:
        raise _refused(
            instance,
            "snapshot '{tag}' {trouble}",
            tag,
            *_ways_back(name, known[tag]),
            trouble=known[tag].trouble,
        )
    if verb is Verb.SNAPSHOT_RESTORE and instance.alive and not known[tag].memory_bytes:
        raise _refused(
            instance,
            "snapshot '{tag}' of VM '{name}' has no memory, and the VM {is}",
            tag,
            WAYS_OUT[Situation.RUNNING].format(name=name),
        )


def _ways_back(name: str, snapshot: Snapshot) -> tuple[str, ...]:
    """How a VM gets the disks again that are in a snapshot."""
    if ROOT_DISK in snapshot.without:
        return (
            f"the disk that it was taken with was replaced; delete it: `vmctl snapshot delete {name} {snapshot.tag}`",
        )
    extra = [word for word in snapshot.without if word != UEFI_VARIABLES]
    gone = [word for word in snapshot.detached if word != UEFI_VARIABLES]
    edits = [f"remove {' and '.join(extra)} from the VMFile, which keeps the disk"] if extra else []
    if gone:
        edits.append(f"define {' and '.join(gone)} in the VMFile again")
    if UEFI_VARIABLES in (*snapshot.without, *snapshot.detached):
        edits.append(
            f'write `firmware "{Firmware.BIOS if UEFI_VARIABLES in snapshot.without else Firmware.UEFI}"` in the VMFile'
        )
    return (f"{', '.join(edits)}; run `vmctl down {name}` and `vmctl up {name}`, then restore it",)


def _refused(instance: Instance, template: str, tag: str, *help: str, **more: str) -> InvalidState:
    return InvalidState(
        template,
        {"name": instance.name, "state": instance.state, "tag": tag, "is": predicate(instance.state), **more},
        help=help,
        subject=Subject(vm=instance.name),
    )
