"""Which brace is to blame when the braces of a document do not balance.

A reader alone notices a missing `}` at the end of the text and a `}` too many at the next outermost one, both often
hundreds of lines behind the mistake. The indentation usually shows where it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2.text import LINE_BREAK, SPACE, past
from vm_manager.vmfile.nodes import SyntaxProblem

# Beyond this a document is rather no KDL at all than wrongly indented.
_MOST_BLAMED = 100

_INDENT = re.compile(rf"[{SPACE}]*")


@dataclass
class Imbalance:
    """Braces without a partner.

    unclosed: offsets of `{`, each with the `}` of an outer block that shows it by its indentation, or None.
    stray: offsets of `}`.
    """

    unclosed: list[tuple[int, int | None]] = field(default_factory=list)
    stray: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.unclosed) + len(self.stray)

    def problems(self) -> Iterator[SyntaxProblem]:
        """What to tell about each of them."""
        yield from (_unclosed(*brace) for brace in self.unclosed)
        yield from map(_stray, self.stray)


@dataclass(frozen=True, slots=True)
class _Brace:
    offset: int
    indent: int
    leads: bool


def imbalance(text: str, braces: list[int], *, by_indentation: bool = True) -> Imbalance:
    """The braces without a partner among those at the offsets `braces` (in order), blamed as the indentation suggests.

    The indentation only decides between explanations of the same size: where it is at odds with the braces in further
    places it proves nothing, and each brace is paired with its nearest.
    """
    nearest = _paired_by_nesting(text, braces)
    if not by_indentation or not 0 < len(nearest) <= _MOST_BLAMED:
        return nearest
    indented = _paired_by_indentation(text, braces)
    return indented if len(indented) <= len(nearest) else nearest


def _paired_by_nesting(text: str, braces: list[int]) -> Imbalance:
    opened: list[int] = []
    result = Imbalance()
    for offset in braces:
        if text[offset] == "{":
            opened.append(offset)
        elif opened:
            opened.pop()
        else:
            result.stray.append(offset)
    result.unclosed = [(offset, None) for offset in opened]
    return result


def _paired_by_indentation(text: str, braces: list[int]) -> Imbalance:
    opened: list[_Brace] = []
    result = Imbalance()
    for brace in _with_indents(text, braces):
        if text[brace.offset] == "{":
            opened.append(brace)
        elif not brace.leads or not opened:
            _close_nearest(brace, opened, result)
        else:
            _close_by_indent(brace, opened, result)
    result.unclosed += [(brace.offset, None) for brace in opened]
    return result


def _close_nearest(brace: _Brace, opened: list[_Brace], result: Imbalance) -> None:
    if opened:
        opened.pop()
    else:
        result.stray.append(brace.offset)


def _close_by_indent(brace: _Brace, opened: list[_Brace], result: Imbalance) -> None:
    if brace.indent > opened[-1].indent:
        result.stray.append(brace.offset)
        return
    while len(opened) > 1 and opened[-1].indent > brace.indent and opened[-2].indent >= brace.indent:
        result.unclosed.append((opened.pop().offset, brace.offset))
    opened.pop()


def _with_indents(text: str, offsets: list[int]) -> list[_Brace]:
    starts = [0, *(match.end() for match in LINE_BREAK.finditer(text))]
    braces, line, content = [], -1, 0
    for offset in offsets:
        if (its_line := bisect_right(starts, offset) - 1) != line:
            line, content = its_line, past(_INDENT, text, starts[its_line])
        braces.append(_Brace(offset, content - starts[line], leads=content == offset))
    return braces


def _unclosed(offset: int, exposed_by: int | None) -> SyntaxProblem:
    related: tuple[tuple[Span, str], ...] = ()
    if exposed_by is not None:
        related = ((Span(exposed_by, exposed_by + 1), "this } is where an outer block ends"),)
    return SyntaxProblem("block is not closed", Span(offset, offset + 1), "put a } where the block ends", related)


def _stray(offset: int) -> SyntaxProblem:
    return SyntaxProblem("this } closes no block", Span(offset, offset + 1), "remove it")
