"""A VMFile was edited after its VM was created: what the next start takes up, and what only a new VM would."""

from __future__ import annotations

from dataclasses import fields, replace

from vm_manager.domain.instance import Instance
from vm_manager.domain.sizes import exact_size, whole_sectors
from vm_manager.domain.spec import Drive, Effect, SshAccess, VmSpec


def startable(old: VmSpec, new: VmSpec) -> VmSpec:
    """The spec that a VM made from `old` can be started with now that `new` is wanted."""
    kept = {name: getattr(old, name) for name in _words(Effect.AT_CREATION)}
    return replace(new, **{**kept, "ssh": _reached_as(new, old)})


def changed_at_start(old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    """What differs and takes effect with a restart, in the VMFile's words."""
    reached = _reached_as(new, old)
    ssh = [word for word, name in _OF_THIS_HOST.items() if getattr(reached, name, None) != getattr(old.ssh, name, None)]
    return (*_differing(Effect.AT_START, old, new), *ssh)


def changed_at_creation(old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    """What differs and takes effect with a new VM only, in the VMFile's words."""
    return _differing(Effect.AT_CREATION, replace(old, ssh=_reached_as(new, old)), new)


# What of the ssh block no guest has been told.
_OF_THIS_HOST = {"private-key": "private_key", "port": "port"}


def _reached_as(new: VmSpec, old: VmSpec) -> SshAccess | None:
    """How the guest of `old` is reached at the port, and with the key, that `new` names: both are a matter of this host.

    Not the key where only one of them names one: without one, the guest has been given another that vmctl made.
    """
    if not (old.ssh and new.ssh):
        return old.ssh
    key = new.ssh.private_key if old.ssh.private_key and new.ssh.private_key else old.ssh.private_key
    return replace(old.ssh, port=new.ssh.port, private_key=key)


def changed_drives(old: Instance, new: VmSpec) -> tuple[str, ...]:
    """What becomes of drives when a VM is started as `new`, in words: one that was renamed is another drive."""
    before, after = ({drive.name for drive in spec.drives} for spec in (old.record.spec, new))
    return (
        *(f"drive '{name}' is no longer attached; its disk is kept" for name in sorted(before - after)),
        *(
            f"drive '{name}' is attached, with a new empty disk unless it had one before"
            for name in sorted(after - before)
        ),
        *(
            f"drive '{drive.name}' grows from {exact_size(old.drives[drive.name])} to {exact_size(drive.size_bytes)}"
            for drive in new.drives
            if whole_sectors(drive.size_bytes) > old.drives.get(drive.name, drive.size_bytes)
        ),
    )


def smaller_drives(old: Instance, new: VmSpec) -> tuple[tuple[Drive, int], ...]:
    """The drives of `new` whose disks are larger, attached until now or not, each with the size in bytes that its disk has."""
    return tuple(
        (drive, old.drives[drive.name])
        for drive in new.drives
        if whole_sectors(drive.size_bytes) < old.drives.get(drive.name, 0)
    )


def _differing(effect: Effect, old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    return tuple(word for name, word in _words(effect).items() if getattr(old, name) != getattr(new, name))


def _words(effect: Effect) -> dict[str, str]:
    """The fields whose changes take effect then, with the VMFile's words for them."""
    return {field.name: field.metadata["word"] for field in fields(VmSpec) if field.metadata["effect"] is effect}
