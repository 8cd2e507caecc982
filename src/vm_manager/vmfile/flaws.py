"""What can be wrong with a file that a VMFile names."""

from __future__ import annotations

from dataclasses import dataclass

from vm_manager.diagnostics.model import Label


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One thing that is wrong with a file.

    problem: a predicate, such as "is not valid YAML". help: what to do; None: the general advice about paths.
    place: where in that file. warning: whether it is no more than that. of_word: whether the word that names the file is
    what the problem is said of.
    """

    problem: str
    help: str | None = None
    place: Label | None = None
    warning: bool = False
    of_word: bool = False
