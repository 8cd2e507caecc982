"""What a caller may write where a path, or one name or several, is meant."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TypeVar, overload

StrPath = str | PathLike[str]
#: One name, or several.
Names = str | Iterable[str]
_Word = TypeVar("_Word", bound=str)


def words(names: _Word | Iterable[_Word]) -> tuple[_Word, ...]:
    """The names that are meant; a single one is not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


@overload
def path_of(path: StrPath) -> Path: ...
@overload
def path_of(path: StrPath | None) -> Path | None: ...
def path_of(path: StrPath | None) -> Path | None:
    """A path that may have been written as a text."""
    return None if path is None else Path(path)
