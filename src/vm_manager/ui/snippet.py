"""Source lines with marks below what is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from vm_manager.diagnostics.model import Label

_TAB = 4
# Columns of a source line where nobody knows how many there are; a line may be as long as its file.
_WIDEST = 200
# Characters around the first mark of a line that are looked at at all.
_BEFORE, _LONGEST = 400, 1600


@dataclass(frozen=True)
class Line:
    """A line of a report: parts of (style, text).

    hang: the column at which its continuation rows begin; margin: what stands before them there.
    wraps: False where columns must stay below each other.
    """

    parts: tuple[tuple[str, str], ...]
    hang: int = 0
    wraps: bool = True
    margin: str = ""

    @property
    def text(self) -> str:
        """The line without styles."""
        return "".join(text for _, text in self.parts)


@dataclass(frozen=True)
class _Mark:
    """A stretch of one line, in characters from 0."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


def snippets(labels: list[Label], width: int | None, shown: Callable[[str], str]) -> Iterator[Line]:
    """The lines of one source that labels point into.

    width: columns to which a source line is cut around its first mark; None: some 200.
    shown: a text as it can be written.
    """
    source = labels[0].source
    marks = sorted((mark for label in labels for mark in _marks(label)), key=lambda mark: (mark.line, mark.start))
    first_line, first_column = source.position(labels[0].span.start)
    gutter = len(str(marks[-1].line))
    space = max(10, min(width or _WIDEST, _WIDEST) - gutter - 3)
    yield Line((("frame", f"{'':{gutter}}--> "), ("text", f"{shown(source.name)}:{first_line}:{first_column}")))
    yield Line((("frame", f"{'':{gutter}} |"),))
    before = marks[0].line
    for number, on_line in groupby(marks, key=lambda mark: mark.line):
        if number > before + 1:
            yield Line((("frame", "..."),), wraps=False)
        before = number
        yield from _marked_line(source.line(number).rstrip(), number, list(on_line), gutter, space, shown)
    yield Line((("frame", f"{'':{gutter}} |"),))


def _marks(label: Label) -> Iterator[_Mark]:
    """One mark for a label within a line; its beginning and its end for one over several."""
    source = label.source
    line, column = source.position(label.span.start)
    end_line, end_column = source.position(label.span.end)
    text = source.line(line)
    if end_line == line:
        yield _Mark(line, column - 1, max(end_column - 1, column), label.text, label.primary)
        return
    last = source.line(end_line)
    yield _Mark(line, column - 1, max(len(text), column), "", label.primary)
    yield _Mark(end_line, len(last) - len(last.lstrip()), max(1, end_column - 1), label.text, label.primary)


def _marked_line(
    text: str, number: int, marks: list[_Mark], gutter: int, space: int, shown: Callable[[str], str]
) -> Iterator[Line]:
    text, marks = _near(text, marks)

    def columns(end: int) -> int:
        from rich.cells import cell_len

        return cell_len(shown(text[:end].expandtabs(_TAB)))

    left, whole = 0, columns(len(text))
    if whole > space:
        left = max(0, min(columns(marks[0].start) - space // 3, whole - space))
    yield Line(
        (("frame", f"{number:>{gutter}} | "), ("text", _cut(shown(text.expandtabs(_TAB)), left, space))), wraps=False
    )
    for mark in marks:
        start = columns(mark.start)
        length = max(1, columns(min(mark.end, max(len(text), mark.start + 1))) - start)
        room = max(1, min(length, left + space - start))
        sign, style = ("^", "mark") if mark.primary else ("-", "mark2")
        signs = f"{'':{max(0, start - left)}}{sign * room}"
        said = f" {shown(mark.text)}" if mark.text else ""
        margin = f"{'':{gutter}} | "
        yield Line((("frame", margin), (style, signs + said)), hang=gutter + 3, margin=margin, wraps=bool(said))


def _near(text: str, marks: list[_Mark]) -> tuple[str, list[_Mark]]:
    """What of a line is near its first mark, and the marks in that."""
    if len(text) <= _LONGEST:
        return text, marks
    start = max(0, min(marks[0].start, len(text)) - _BEFORE)
    near = text[start : start + _LONGEST]
    moved = [
        replace(mark, start=mark.start - start, end=min(mark.end - start, len(near) + 1))
        for mark in marks
        if mark is marks[0] or mark.start < start + _LONGEST
    ]
    return near, moved


def _cut(text: str, left: int, space: int) -> str:
    """The part of a line that is shown, with dots where something is left out."""
    from rich.cells import cell_len, chop_cells

    if cell_len(text) <= space and not left:
        return text
    rest = text
    dropped = 0
    while rest and dropped < left:
        dropped += cell_len(rest[0])
        rest = rest[1:]
    part = chop_cells(rest, space)[0] if rest else ""
    head = "..." + part[3:] if left else part
    return head[:-3] + "..." if part != rest else head
