"""Quotation marks and dashes that a blog or a word processor has put in place of KDL's own.

To a reader they are letters like any other, so that a text with spaces in such quotes falls apart into words, each of them a
problem of its own. They may stand in a VMFile that is right: they are named only in one that is wrong, at a line with a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from vm_manager.diagnostics.errors import VmFileError, VmFileParseFailed
from vm_manager.diagnostics.model import Diagnostic, Edit, Label, Suggestion
from vm_manager.diagnostics.spans import Source, Span

_DOUBLE, _SINGLE, _DASHES = "“”„‟«»", "‘’‚‛‹›", "‐‑–—−"
# Zero-width space, word joiner, soft hyphen, Mongolian vowel separator. A no-break space is white space in KDL.
_INVISIBLE = "\u200b\u2060\u00ad\u180e"
_ANY = re.compile(f"[{_DOUBLE}{_SINGLE}{_DASHES}{_INVISIBLE}]")
# What begins a comment, a string, or a word with such a mark; an invisible character may stand anywhere.
_NEXT = re.compile(
    rf'//|/\*|"|(?<![^\s"{{}};=(])(?:[{_DOUBLE}]|[{_SINGLE}]|[{_DASHES}](?=\w))|[{_INVISIBLE}]',
)
_BRACE = re.compile(r"[{}]")
_LINE = re.compile(r"[^\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\n\r]++|\\[^\n\r])*+"')
# What is longer is not looked at for its end: else every mark of a long line would be looked for to the end of that.
_IN_QUOTES = 300
_CLOSED_OTHERWISE = re.compile(rf'"[^"{_DOUBLE}\n\r]{{0,{_IN_QUOTES}}}([{_DOUBLE}])(?=[\s;{{}}]|\Z)')
_TO_DOUBLE = re.compile(
    rf"[^{_DOUBLE}\n\r]{{0,{_IN_QUOTES}}}([{_DOUBLE}])(?=[\s;{{}}]|\Z)"
    rf'|[^{_DOUBLE}"\n\r]{{0,{_IN_QUOTES}}}(")(?=[\s;{{}}]|\Z)',
)
_TO_SINGLE = re.compile(rf"[^\n\r]{{0,{_IN_QUOTES}}}?([{_SINGLE}'])(?=[\s;{{}}]|\Z)")
# A thousand VMs have some 30,000 nodes and values.
_MOST_STEPS = 30_000
_MOST_EDITS = 100
_LONGEST_SHOWN = 100
_EVERYWHERE = "replace such characters throughout the file: a web page or a word processor has put them there"


@dataclass(frozen=True)
class _Mark:
    """A mark at the beginning of a word, and what belongs in its place. whole: whether that mends the word."""

    span: Span
    edits: tuple[tuple[Span, str], ...]
    whole: bool = True


def foreign_mark(error: VmFileError, whole: Source, shown: Source) -> VmFileParseFailed | None:
    """The one problem to show instead of those of a VMFile whose quotes are not KDL's; None when they are not to blame.

    error: what was found wrong with it, all of it. shown: the source without what must not be quoted.
    """
    if not _ANY.search(whole.text):
        return None
    marks = tuple(_marks(whole.text))
    lines = {whole.position(mark.span.start)[0] for mark in marks}
    if not marks or not _is_to_blame(marks, lines, error.diagnostic, whole):
        return None
    first = marks[0]
    message, instead = _named(whole.text[first.span.start])
    help = _help(marks, whole, shown)
    edits = tuple(Edit(shown, span, text) for mark in marks[:_MOST_EDITS] for span, text in mark.edits)
    return VmFileParseFailed(
        "{problem}",
        {"problem": message},
        help=help,
        labels=(Label(shown, first.span, instead),),
        suggestions=(Suggestion(help[0], edits=edits),),
    )


def _is_to_blame(marks: tuple[_Mark, ...], lines: set[int], diagnostic: Diagnostic, source: Source) -> bool:
    # A brace in a text without KDL's quotes is one more, and missed anywhere.
    if any(_BRACE.search(source.text, mark.span.start, mark.edits[-1][0].end) for mark in marks):
        return True
    found = chain((diagnostic,), diagnostic.related)
    labels = [label for problem in found for label in problem.labels if label.source.name == source.name]
    # A file in which nearly every line is wrong is told of without places.
    return not labels or any(source.position(label.span.start)[0] in lines for label in labels)


def _named(mark: str) -> tuple[str, str]:
    if mark in _INVISIBLE:
        return f"U+{ord(mark):04X} is an invisible character, and no white space in KDL", "remove it"
    if mark in _DASHES:
        return f"{mark} is a typographic dash; KDL uses -", "use - instead"
    return f'{mark} is a typographic quotation mark; KDL uses "', 'use " instead'


def _help(marks: tuple[_Mark, ...], whole: Source, shown: Source) -> tuple[str, ...]:
    """The first line as it was meant, if it may be quoted and can be mended."""
    number, column = whole.position(marks[0].span.start)
    line_start = marks[0].span.start - (column - 1)
    line = whole.line(number)
    ours = [mark for mark in marks if line_start <= mark.span.start <= line_start + len(line)]
    if line != shown.line(number) or len(line) > _LONGEST_SHOWN or not all(mark.whole for mark in ours):
        return (_EVERYWHERE,)
    for span, text in sorted((edit for mark in ours for edit in mark.edits), key=lambda edit: -edit[0].start):
        line = line[: span.start - line_start] + text + line[span.end - line_start :]
    is_more = any(whole.position(mark.span.start)[0] != number for mark in marks)
    return (f"write it like this: {line.strip()}", *((_EVERYWHERE,) if is_more else ()))


def _marks(text: str) -> Iterator[_Mark]:
    """The marks outside of strings and comments, in the order of the text."""
    pos, absent = 0, set[str]()
    for _ in range(_MOST_STEPS):
        found = _NEXT.search(text, pos)
        if found is None:
            return
        start, sign = found.span()[0], found[0]
        if sign == "//":
            pos = _past(_LINE, text, start)
        elif sign == "/*":
            pos = _behind("*/", text, start + 2, absent) or len(text)
        elif sign == '"':
            hashes = _hashes_before(text, start, pos)
            triple = '"""' if text.startswith('"""', start) else ""
            if hashes or triple:
                opening = triple or '"'
                pos = _behind(opening + hashes, text, start + len(opening), absent) or _past(_LINE, text, start)
            elif string := _STRING.match(text, start):
                pos = string.end()
            else:
                pos = _past(_LINE, text, start)
                if other := _CLOSED_OTHERWISE.match(text, start):
                    span = Span(*other.span(1))
                    yield _Mark(span, ((span, '"'),))
                    pos = span.end
        else:
            mark = _mark(text, start)
            yield mark
            pos = mark.edits[-1][0].end


def _mark(text: str, start: int) -> _Mark:
    span, sign = Span(start, start + 1), text[start]
    if sign in _INVISIBLE or sign in _DASHES:
        return _Mark(span, ((span, "" if sign in _INVISIBLE else "-"),))
    closing = (_TO_DOUBLE if sign in _DOUBLE else _TO_SINGLE).match(text, start + 1)
    if closing is None:
        return _Mark(span, ((span, '"'),), whole=False)
    end = Span(*closing.span(closing.lastindex or 0))
    inner = text[span.end : end.start]
    raw = "#" if '"' in inner or "\\" in inner else ""
    return _Mark(span, ((span, f'{raw}"'), (end, f'"{raw}')))


def _hashes_before(text: str, start: int, least: int) -> str:
    first = start
    while first > least and text[first - 1] == "#":
        first -= 1
    return text[first:start]


def _behind(closing: str, text: str, start: int, absent: set[str]) -> int | None:
    # Once it is not found it need not be looked for again and again.
    end = -1 if closing in absent else text.find(closing, start)
    if end < 0:
        absent.add(closing)
        return None
    return end + len(closing)


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start
