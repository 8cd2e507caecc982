"""What of a VMFile this version of vmctl reads and checks, but cannot run yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vm_manager.vmfile.blocks import Block, Later
from vm_manager.vmfile.problems import Problems


def unsupported_in(vm: Block) -> Iterator[Later]:
    """The places in a vm block that cannot be run yet."""
    yield from vm.later


def reject_unsupported(places: Sequence[Later], problems: Problems) -> None:
    """Note each of these places as a problem."""
    for place in places:
        problems.add(place.span, f"{place.what} is not supported yet", "not yet", "remove it for now")
