"""Strings of KDL 2 with quotes: plain, raw and over several lines.

Source: the KDL 2.0.0 specification (https://kdl.dev/spec), sections Quoted String, Multi-line String and Raw String.
"""

from __future__ import annotations

import re

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2.text import (
    LINE_BREAK,
    NEWLINE,
    REST_OF_LINE,
    SPACE,
    Cursor,
    StopReading,
    in_quotes,
    past,
    shortened,
)
from vm_manager.vmfile.nodes import SyntaxProblem

_SIMPLE = re.compile(rf'"([^"\\{NEWLINE}]*)"(?!")')
_STOP = re.compile(rf'\\(?:[{SPACE}{NEWLINE}]+|.)|["{NEWLINE}]', re.DOTALL)
_TRIPLE_STOP = re.compile(r'\\.|"""', re.DOTALL)
_RAW_OPENING = re.compile(r'(#+)("""|")')
_ESCAPE = re.compile(rf"\\(?:[{SPACE}{NEWLINE}]+|u\{{([0-9a-fA-F]{{1,6}})\}}|(.))", re.DOTALL)
_SPACE_ESCAPE_OR_BREAK = re.compile(rf"\\(?:[{SPACE}{NEWLINE}]+|.)|\r\n|[{NEWLINE}]", re.DOTALL)
_UNICODE = re.compile(r"\\u(?:\{[^\"\s}]{0,12}\}?|[0-9a-fA-F]{4})?")
_INDENT = re.compile(rf"[{SPACE}]*")
_BRACES_AT_END = re.compile(r"[\s;]*(?:\{|\}[\s;}]*)$")
_AFTER_STRING = re.compile(rf'"(?=[{SPACE}{NEWLINE};}})=]|\Z)')
_OPENS_AGAIN = re.compile(rf"[{SPACE}=]#*$")

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "b": "\b", "f": "\f", "s": " "}
# How far to look for the end of a string that a KDL 1 habit has put over several lines.
_NEARBY = 4000


def read_string(cursor: Cursor) -> str:
    """Read the string whose opening quote is at the cursor. Raises: StopReading when it swallows the rest."""
    start = cursor.pos
    simple = _SIMPLE.match(cursor.text, start)
    if simple is not None:
        cursor.pos = simple.end()
        return simple[1]
    if cursor.at('"""'):
        return _read_lines(cursor, '"""')
    end = _closing_quote(cursor.text, start + 1)
    if end < 0:
        return read_unclosed(cursor, start)
    cursor.pos = end + 1
    _check_escapes(cursor, start + 1, end)
    return _ESCAPE.sub(_unescaped, cursor.text[start + 1 : end])


def read_raw(cursor: Cursor) -> str:
    """Read the raw string whose `#`s and opening quote are at the cursor. Raises: StopReading, see `read_string`."""
    start, text = cursor.pos, cursor.text
    opening = _RAW_OPENING.match(text, start)
    assert opening is not None, "the caller has seen the opening"
    if opening[2] == '"""':
        return _read_lines(cursor, opening[0])
    closing = '"' + opening[1]
    line_end, end = past(REST_OF_LINE, text, start), text.find(closing, opening.end())
    if end < 0 or (end > line_end and text.find(opening[0], line_end, end) >= 0):
        cursor.problem(start, opening.end(), "raw string is not closed", f"it ends with {shortened(closing)}")
        cursor.pos = _end_of_unclosed(text, opening.end())
        return text[opening.end() : cursor.pos]
    if end > line_end:
        _over_lines(cursor, start, opening.end())
    cursor.pos = end + len(closing)
    return text[opening.end() : end]


def read_unclosed(cursor: Cursor, start: int) -> str:
    """Note that the string at `start` lacks its closing quote and move to where the document probably goes on."""
    text, body = cursor.text, start + 1
    line_end = past(REST_OF_LINE, text, start)
    end = _quote_on_later_line(text, line_end)
    if end is not None:
        _over_lines(cursor, start, body)
        cursor.pos = end
        return text[body : end - 1]
    cursor.pos = _end_of_unclosed(text, body)
    if text[body:line_end].rstrip().endswith('\\"'):
        help_text = 'the \\" at its end stands for a quote; write \\\\ for a backslash, or a raw string: #"…"#'
    else:
        help_text = 'put a " where the string ends'
    cursor.problem(start, body, "string is not closed", help_text)
    return text[body : cursor.pos]


def _closing_quote(text: str, start: int) -> int:
    """The offset of the quote that closes a string on its line, or -1."""
    for stop in _STOP.finditer(text, start):
        if stop[0] == '"':
            return stop.start()
        if not stop[0].startswith("\\"):
            break
    return -1


def _end_of_unclosed(text: str, start: int) -> int:
    # Braces at the end of the line rather belong to the blocks around: inside the string they would be missed there.
    rest = text[start : past(REST_OF_LINE, text, start)]
    tail = _BRACES_AT_END.search(rest[-80:])
    balance = rest.count("{") - rest.count("}")
    cut = len(tail[0]) if tail and (balance > 0 if tail[0].endswith("{") else balance < 0) else 0
    return start + len(rest) - cut


def _quote_on_later_line(text: str, line_end: int) -> int | None:
    """Behind the closing quote of a string over several lines, if what follows looks like one.

    It does when the next line with an odd number of quotes has its first where a string may end, and no braces would be
    lost.
    """
    nearby = text[line_end : line_end + _NEARBY]
    offset = 0
    for line in nearby.splitlines(keepends=True):
        if line.count('"') % 2:
            quote = offset + line.index('"')
            balanced = nearby.count("{", 0, quote) == nearby.count("}", 0, quote)
            fits = balanced and _AFTER_STRING.match(text, line_end + quote)
            return line_end + quote + 1 if fits else None
        offset += len(line)
    return None


def _over_lines(cursor: Cursor, start: int, end: int) -> None:
    hashes = shortened(cursor.text[start : end - 1])
    help_text = f'open it with {hashes}""" and close it with """{hashes}, each on a line without the text'
    cursor.problem(start, end, "a string over several lines needs three quotes", help_text)


def _check_escapes(cursor: Cursor, start: int, end: int) -> None:
    # One problem per string: who writes one path or pattern without doubling its backslashes does so throughout.
    for escape in _ESCAPE.finditer(cursor.text, start, end):
        if _is_wrong(escape):
            _wrong_escape(cursor, escape)
            return


def _is_wrong(escape: re.Match[str]) -> bool:
    if escape[1]:
        code = int(escape[1], 16)
        return code > 0x10FFFF or 0xD800 <= code <= 0xDFFF
    return escape[2] is not None and escape[2] not in _ESCAPED


def _wrong_escape(cursor: Cursor, escape: re.Match[str]) -> None:
    start, sign = escape.start(), escape[2]
    if sign is not None and sign != "u":
        help_text = f"write {sign} alone" if sign in "/'" else 'write \\\\ for a backslash, or a raw string: #"…"#'
        cursor.problem(start, escape.end(), f"\\{sign} is not an escape", help_text)
        return
    end = past(_UNICODE, cursor.text, start)
    if escape[1]:
        message = f"U+{escape[1].upper()} is not a character"
        help_text = "code points range from 0 to 10FFFF, without the surrogates D800 to DFFF"
    else:
        digits = cursor.text[start + 2 : end].strip("{}")
        example = f": \\u{{{digits}}}" if len(digits) == 4 else ""
        message = "malformed Unicode escape"
        help_text = f"write \\u{{…}} with one to six hexadecimal digits{example}"
    cursor.problem(start, end, message, help_text)


def _unescaped(escape: re.Match[str]) -> str:
    if _is_wrong(escape):
        return "\ufffd"
    if escape[1]:
        return chr(int(escape[1], 16))
    return _ESCAPED[escape[2]] if escape[2] else ""


def _read_lines(cursor: Cursor, opening: str) -> str:
    """Read a string over several lines; `opening` is its quotes with the `#`s of a raw string before them."""
    start, text, raw = cursor.pos, cursor.text, opening[0] == "#"
    body, closing = start + len(opening), opening[::-1]
    end = text.find(closing, body) if raw else _closing_triple(text, body)
    begins_well = LINE_BREAK.match(text, body)
    if end < 0 or _is_next_opening(text, body, end):
        help_text = f"put {shortened(closing)} on a line of its own where the string ends"
        cursor.problem(start, body, "string is not closed", help_text)
        if begins_well:
            raise StopReading
        cursor.pos = _end_of_unclosed(text, body)
        return text[body : cursor.pos]
    cursor.pos = end + len(closing)
    if not begins_well:
        _begins_too_early(cursor, start, Span(body, end))
        return text[body:end]
    if not raw:
        _check_escapes(cursor, body, end)
    value = _dedented(cursor, Span(body, end), raw=raw)
    return value if raw else _ESCAPE.sub(_unescaped, value)


def _closing_triple(text: str, start: int) -> int:
    for stop in _TRIPLE_STOP.finditer(text, start):
        if stop[0] == '"""':
            return stop.start()
    return -1


def _is_next_opening(text: str, body: int, end: int) -> bool:
    # A node begins a string here, after white space or =, and lines follow: so the string before it was never closed.
    before = re.split(rf"[{NEWLINE}]", text[max(body, end - 200) : end])[-1]
    is_alone = not before.replace("\\", "").strip()
    return not is_alone and bool(_OPENS_AGAIN.search(before)) and bool(LINE_BREAK.match(text, end + 3))


def _begins_too_early(cursor: Cursor, start: int, body: Span) -> None:
    text = cursor.text[body.start : body.end]
    if LINE_BREAK.search(text):
        end = past(REST_OF_LINE, cursor.text, body.start)
        help_text = "begin the text on the next line" if text[: end - body.start].strip() else "remove the white space"
        cursor.problem(body.start, end, 'nothing may follow the opening """ on its line', help_text)
        return
    instead = f"for a single line write {in_quotes(text)}" if text else 'for an empty string write ""'
    cursor.problem(start, body.start, '""" opens a string over several lines', instead)


def _dedented(cursor: Cursor, body: Span, *, raw: bool) -> str:
    """The text of a string without the indentation that the line of its closing quotes sets."""
    lines = _logical_lines(cursor.text, body, raw=raw)
    prefix = lines[-1][1]
    if past(_INDENT, prefix, 0) < len(prefix):
        help_text = "end the line before the quotes; their indentation is taken off every line"
        cursor.problem(body.end, body.end + 3, 'the closing """ must be on its own line', help_text)
        return "\n".join(line for _, line in lines[1:])
    kept = []
    for start, line in lines[1:-1]:
        blank = past(_INDENT, line, 0) == len(line)
        if not blank and not line.startswith(prefix):
            _too_shallow(cursor, start, Span(body.end, body.end + 3))
            return "\n".join(line for _, line in lines[1:-1])
        kept.append("" if blank else line[len(prefix) :])
    return "\n".join(kept)


def _logical_lines(text: str, body: Span, *, raw: bool) -> list[tuple[int, str]]:
    """The lines of a string, escaped line breaks and white space taken out, each with the offset where it starts."""
    lines, kept, line_start, piece = [], "", body.start, body.start
    for mark in (LINE_BREAK if raw else _SPACE_ESCAPE_OR_BREAK).finditer(text, body.start, body.end):
        if mark[0][0] != "\\":
            lines.append((line_start, kept + text[piece : mark.start()]))
            kept, line_start = "", mark.end()
        elif past(_INDENT, mark[0], 1) > 1 or LINE_BREAK.match(mark[0], 1):
            kept += text[piece : mark.start()]
        else:
            continue
        piece = mark.end()
    lines.append((line_start, kept + text[piece : body.end]))
    return lines


def _too_shallow(cursor: Cursor, line_start: int, closing: Span) -> None:
    end = past(_INDENT, cursor.text, line_start)
    span = Span(line_start, max(end, line_start + 1))
    cursor.report(
        SyntaxProblem(
            'this line is not indented like the closing """',
            span,
            "begin it with the same spaces and tabs, or move the closing quotes to the left",
            related=((closing, "these quotes set the indentation"),),
        )
    )
