"""What a description of the language is made of: types of values, and entries, which are nodes or properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vm_manager.vmfile.nodes import Node


@dataclass(frozen=True)
class Complaint:
    """What is said about a mistake: the message, the label below the characters, and what to do.

    In each, {value} is what was written and {name} the entry it was written for.
    """

    message: str
    label: str
    help: str


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form that a string must have. check: whether it has; title: its name in the reference.

    advice: what to do about a string that is wrong in a way that is known, else None.
    """

    check: Callable[[str], bool]
    complaint: Complaint
    title: str
    advice: Callable[[str], str | None] = lambda text: None


@dataclass(frozen=True, kw_only=True)
class Text:
    """A string. form: None for any; empty: whether it may be empty."""

    form: Form | None = None
    empty: bool = False


@dataclass(frozen=True, kw_only=True)
class Number:
    """A whole number from low to high; unit: for the reference. word: a string that may stand instead."""

    low: int
    high: int
    unit: str = ""
    word: str = ""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A size: a number of units of `unit_bytes`, or a string with a unit of its own. low, high: bounds in bytes.

    few, many: a number of units that is smaller or larger was probably meant in another unit.
    """

    unit_bytes: int
    low: int
    high: int
    few: int
    many: int


@dataclass(frozen=True, kw_only=True)
class Word:
    """One of a few words. later: those that this version cannot run yet. also: what people call them who know other tools."""

    words: tuple[str, ...]
    later: frozenset[str] = frozenset()
    also: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Flag:
    """#true or #false."""


Type = Text | Number | Size | Word | Flag


@dataclass(frozen=True, kw_only=True)
class Idiom:
    """How people who know other tools write a node that says all that it should.

    read: how it is written here, given the node and what of its text may be quoted; None when it is not written so.
    """

    read: Callable[[Node, str], str | None]
    complaint: Complaint


class Written(StrEnum):
    """How an entry is written: CHILD: a node in the block; PROPERTY: key=value behind the name; EITHER: as one likes."""

    CHILD = "child"
    PROPERTY = "property"
    EITHER = "either"


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A value behind a node's name. many: one or more of them; only the last argument may be so.

    default: what is meant when it is left out; None: it must stand.
    """

    name: str
    type: Type
    many: bool = False
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Entries of which exactly one must stand. only: as in `Entry`; none, several: what is said otherwise."""

    names: tuple[str, ...]
    none: Complaint
    several: Complaint
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A node, or a property, of the language.

    entries: what may stand in its block or as its properties.
    many: whether it may stand several times. required: whether it must stand.
    body: whether a block must be written, be it empty.
    only: the first arguments of the enclosing node with which it may stand; empty: with all.
    default: what holds without it, for the reference. also: other names by which people call it. idiom: another way to write it.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...] = ()
    entries: tuple[Entry, ...] = ()
    choices: tuple[Choice, ...] = ()
    many: bool = False
    required: bool = False
    body: bool = False
    only: tuple[str, ...] = ()
    written: Written = Written.CHILD
    default: str = ""
    also: tuple[str, ...] = ()
    idiom: Idiom | None = None

    def is_called(self, name: str) -> bool:
        """Whether people who know other tools call it so; `_` counts as `-`."""
        return name.lower().replace("_", "-") in self.also

    def find(self, name: str) -> Entry | None:
        """The entry of that name among those of this one."""
        return next((entry for entry in self.entries if entry.name == name), None)

    @property
    def takes_block(self) -> bool:
        """Whether a block may stand behind it."""
        return self.body or any(entry.written is not Written.PROPERTY for entry in self.entries)

    def fits(self, variant: str | None) -> bool:
        """Whether it may stand below a node with that first argument; None when that one is wrong."""
        return not self.only or variant is None or variant in self.only
