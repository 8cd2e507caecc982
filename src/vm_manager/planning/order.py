"""In which order VMs are worked on, and how many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vm_manager.domain.host_facts import HostFacts
from vm_manager.domain.spec import VmSpec


def needs_for_up(specs: Iterable[VmSpec]) -> dict[str, tuple[str, ...]]:
    """By VM, those that must be ready before it is started."""
    return {spec.name: spec.depends_on for spec in specs}


def needs_for_down(specs: Iterable[VmSpec]) -> dict[str, tuple[str, ...]]:
    """By VM, those that must be down before it is stopped: its dependants."""
    dependants: dict[str, tuple[str, ...]] = {}
    for spec in specs:
        for name in spec.depends_on:
            dependants[name] = (*dependants.get(name, ()), spec.name)
    return dependants


def how_many_at_once(specs: Sequence[VmSpec], host: HostFacts) -> int:
    """As many as the host has processors, two at the least, as long as they fit into its memory; one at the least."""
    largest = max((spec.memory_mib for spec in specs), default=1)
    return max(1, min(max(2, host.cpus), host.memory_mib // largest))
