"""A VMFile was edited after its VM was created: what the next start takes up, and what only a new VM would."""

from __future__ import annotations

from dataclasses import replace

from vm_manager.domain.spec import VmSpec

# The words of the VMFile for what the command line decides anew at every start, and for what is fixed at creation.
_AT_START = {"vcpus": "vcpus", "memory_mib": "memory", "accelerator": "accel", "cpu": "cpu", "isolated": "isolated"}
_AT_CREATION = {"image": "image", "disk_bytes": "disk", "network": "network", "cloud_init": "cloud-init", "ssh": "ssh"}


def startable(old: VmSpec, new: VmSpec) -> VmSpec:
    """The spec that a VM made from `old` can be started with now that `new` is wanted."""
    kept = {name: getattr(old, name) for name in _AT_CREATION}
    return replace(new, **kept)


def changed_at_start(old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    """What differs and is taken up by a restart, in the VMFile's words."""
    return _differing(_AT_START, old, new)


def changed_at_creation(old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    """What differs and is taken up by a new VM only, in the VMFile's words."""
    return _differing(_AT_CREATION, old, new)


def _differing(names: dict[str, str], old: VmSpec, new: VmSpec) -> tuple[str, ...]:
    return tuple(word for name, word in names.items() if getattr(old, name) != getattr(new, name))
