"""The cards of a machine on bridges of this host: QEMU gets their devices as descriptors, which it could not open itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from vm_manager.host.tap import open_tap

# Until the descriptor is known.
_OPEN_LATER = "N"


def tap_netdev(name: str) -> str:
    """The option for a card of that name, as long as nothing is open for it."""
    return _option(name, _OPEN_LATER)


@contextmanager
def open_taps(bridges: Mapping[int, str]) -> Iterator[dict[int, int]]:
    """The descriptors of new devices on these bridges, by the numbers of the cards; closed here in the end.

    Raises: see `host.tap.open_tap`.
    """
    with ExitStack() as stack:
        found = {}
        for number, bridge in bridges.items():
            found[number] = open_tap(bridge)
            stack.callback(os.close, found[number])
        yield found


def with_taps(argv: Sequence[str], taps: Mapping[int, int]) -> list[str]:
    """A command line whose cards have their descriptors."""
    options = {tap_netdev(f"net{number}"): _option(f"net{number}", str(tap)) for number, tap in taps.items()}
    return [options.get(word, word) for word in argv]


def _option(name: str, descriptor: str) -> str:
    return f"tap,id={name},fd={descriptor}"
