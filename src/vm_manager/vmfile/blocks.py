"""A VMFile as it was written: checked against the language, but with nothing filled in and nothing looked up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.grammar import Entry

T_co = TypeVar("T_co", covariant=True)
_T = TypeVar("_T")

#: What values become: sizes are integers, in bytes; words are strings.
Plain = str | int | bool


@dataclass(frozen=True, slots=True)
class Located(Generic[T_co]):
    """A value and where it stands."""

    value: T_co
    span: Span


@dataclass(frozen=True, slots=True)
class Later:
    """A place where something is used that this version cannot run yet, and what to call it."""

    span: Span
    what: str


@dataclass(slots=True)
class Block:
    """A node, or a property, with its values and what stands in it.

    name_span: the name as written. values: the arguments, None for each that is missing or wrong.
    written: names of all entries that stand in it, right or wrong, and of those that were probably meant.
    later: what in it, and below it, cannot be run yet.
    """

    entry: Entry
    name_span: Span
    values: list[Located[Plain] | None] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    later: list[Later] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the language."""
        return self.entry.name

    @property
    def span(self) -> Span:
        """Its name and its arguments."""
        last = next((value for value in reversed(self.values) if value), None)
        return self.name_span.to(last.span) if last else self.name_span

    @property
    def text(self) -> str:
        """Its first argument, a string; empty when it is missing or wrong."""
        first = self.values[0] if self.values else None
        return first.value if first is not None and isinstance(first.value, str) else ""

    def all(self, name: str) -> Iterator[Block]:
        """The blocks of that name in it, in the order of the file."""
        return (block for block in self.blocks if block.name == name)

    def first(self, name: str) -> Block | None:
        """The first block of that name in it."""
        return next(self.all(name), None)

    def get(self, name: str, kind: type[_T]) -> Located[_T] | None:
        """The first argument of the entry of that name; None when it does not stand or is wrong."""
        block = self.first(name)
        value = block.values[0] if block and block.values else None
        if value is None or not isinstance(value.value, kind):
            return None
        return Located(value.value, value.span)

    def value(self, name: str, kind: type[_T], default: _T) -> _T:
        """The same as a bare value, or the default."""
        found = self.get(name, kind)
        return found.value if found else default
