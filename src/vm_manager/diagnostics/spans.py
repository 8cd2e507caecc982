"""Where in a text something stands: offsets, and the lines and columns a person counts."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

_LINE_END = re.compile(r"\r\n|[\r\n]")
_IN_LINE = re.compile(r"[^\r\n]")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source text.

    start: offset of the first character, in code points from 0.
    end: offset behind the last character; equal to start for a place between two characters.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        # A ValueError, since spans are also read from records on disk.
        if not 0 <= self.start <= self.end:
            raise ValueError(f"not a span: {self.start}..{self.end}")

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of the other."""
        return Span(self.start, max(self.end, other.end))


@dataclass(frozen=True)
class Source:
    """A text that labels point into.

    name: how the user calls it, usually the path that was given.
    text: the whole text; a line ends with LF, CRLF or CR.
    """

    name: str
    text: str = field(repr=False)

    def without(self, spans: Iterable[Span]) -> Source:
        """The same text with the characters of these spans hidden; everything stays in its place."""
        parts, pos = [], 0
        for span in sorted(spans, key=lambda span: span.start):
            if span.end > pos:
                start = max(pos, span.start)
                hidden = _IN_LINE.sub(" ", self.text[start : span.end])
                parts += [self.text[pos:start], f"…{hidden[1:]}" if hidden.startswith(" ") else hidden]
                pos = span.end
        return Source(self.name, "".join((*parts, self.text[pos:])))

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        # Computed once: counting newlines for every position would be quadratic in the number of labels.
        return (0, *(found.end() for found in _LINE_END.finditer(self.text)))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1, the column in code points."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (from 1) without its line end; empty when there is no such line."""
        starts = self._line_starts
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].rstrip("\r\n")
