"""Where in a VMFile a word belongs, for one that stands in another block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vm_manager.vmfile.grammar import Argument, Entry, Number, Size, Written
from vm_manager.vmfile.language import DOCUMENT, VM

# More would be a list of words again.
_MOST = 2


def place_of(name: str, around: Entry, idiom: Callable[[Entry], str | None] | None = None) -> str | None:
    """The advice for a word, or what people call it, that stands in the block `around`; None when it is known nowhere else.

    idiom: how the whole node is written as an entry, where it is known.
    """
    paths = [path for path in _below((), DOCUMENT) if path[-1] is not VM and (_is_node(path[-1]) or around in path)]
    found = [path for path in paths if path[-1].name == name or path[-1].is_called(name)]
    if not 0 < len(found) <= _MOST:
        return None
    lines = [(path, idiom(path[-1]) if idiom else None) for path in found]
    known = [(path, line) for path, line in lines if line]
    ways = " or ".join(_written(_from(path, around), line) for path, line in known or lines)
    up = around is not DOCUMENT and around is not VM and len(found) == 1 and len(found[0]) == 2
    return f"move it to the vm block: {ways}" if up else f"write it like this: {ways}"


def _below(above: tuple[Entry, ...], entry: Entry) -> Iterator[tuple[Entry, ...]]:
    for inner in entry.entries:
        yield (*above, inner)
        yield from _below((*above, inner), inner)


def _is_node(entry: Entry) -> bool:
    """Properties have names, such as `host`, that may mean anything elsewhere."""
    return entry.written is not Written.PROPERTY


def _from(path: Sequence[Entry], around: Entry) -> Sequence[Entry]:
    """Without the blocks in which it already is, or at least without the VM's."""
    if around in path[:-1]:
        return path[path.index(around) + 1 :]
    return path if around is DOCUMENT else path[1:]


def _written(path: Sequence[Entry], line: str | None = None) -> str:
    """The last one in the blocks around it. line: how it is written, where that is known."""
    entry, *inner = path
    if not inner:
        return line or _head(entry)
    following = inner[0]
    head = " ".join([entry.name, *_arguments(entry, following)])
    if following.written is Written.CHILD:
        return f"{head} {{ {_written(inner, line)} }}"
    return f"{head} {_property(following)}"


def _head(entry: Entry) -> str:
    kind = entry.arguments[0].default if entry.arguments else None
    needed = [
        _property(inner)
        for inner in entry.entries
        if inner.required and inner.written is not Written.CHILD and inner.fits(kind or "")
    ]
    return " ".join([entry.name, *_arguments(entry), *needed])


def _arguments(entry: Entry, inner: Entry | None = None) -> list[str]:
    """What stands behind the name; of arguments with a default only the one with which `inner` may stand."""
    if inner and inner.only and inner.only[0] != entry.arguments[0].default:
        return [f'"{inner.only[0]}"']
    return [placeholder(argument) for argument in entry.arguments if argument.default is None]


def _property(entry: Entry) -> str:
    return f"{entry.name}={placeholder(entry.arguments[0])}"


def placeholder(argument: Argument) -> str:
    """What stands for a value in an advice."""
    return "…" if isinstance(argument.type, (Number, Size)) else '"…"'
