"""A mapping that nobody can change: it can be hashed, compared, copied and pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class FrozenArgs(Mapping[str, str | int]):
    """The arguments of a message, in the order in which they were given; the order takes no part in comparisons."""

    # types.MappingProxyType has no hash before Python 3.12, and cannot be pickled.
    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str | int]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> str | int:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)
