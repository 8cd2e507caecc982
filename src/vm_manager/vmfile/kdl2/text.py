"""The text of a KDL 2 document and the place a reader has come to: white space, comments, words, problems.

Source: the KDL 2.0.0 specification (https://kdl.dev/spec), sections Whitespace, Newline and Disallowed Literal Code
Points.
"""

from __future__ import annotations

import re

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.nodes import SyntaxProblem

# Bodies of character classes for regular expressions.
SPACE = r"\t \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
NEWLINE = r"\n\r\x85\x0b\x0c\u2028\u2029"

# Disallowed code points count as parts of words here, so that each is one problem and upsets nothing around it.
WORD = re.compile(rf'[^{SPACE}{NEWLINE}\\/(){{}};\[\]"#=]+')
REST_OF_LINE = re.compile(rf"[^{NEWLINE}]*")
LINE_BREAK = re.compile(rf"\r\n|[{NEWLINE}]")

MAX_PROBLEMS = 100
_SHOWN = 60
_SPACE_MARKS = frozenset("/\\")

_SPACES = re.compile(rf"[{SPACE}]*")
_LINES = re.compile(rf"(?:[{SPACE}{NEWLINE}]++|//[^{NEWLINE}]*+)*+")
_LINE_END = re.compile(rf"(?://[^{NEWLINE}]*)?(?:\r\n|[{NEWLINE}]|\Z)")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_DISALLOWED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_DISALLOWED_RUN = re.compile(_DISALLOWED.pattern + "+")
_WHOLE_COMMENT = "a comment from /* to */ may hold others, and each needs its own */; a text with /* in it needs quotes"


class StopReading(Exception):
    """What follows cannot be told apart any more; the problems so far say why."""


def past(pattern: re.Pattern[str], text: str, start: int) -> int:
    """The offset behind a match that begins at `start`; `start` itself when there is none."""
    match = pattern.match(text, start)
    return match.end() if match else start


def shortened(text: str) -> str:
    """A text as far as it fits into a message of one line."""
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return shown if shown.isprintable() else "".join(char if char.isprintable() else " " for char in shown)


def in_quotes(text: str) -> str:
    """How to write a text without line breaks as a KDL 2 string, shortened to fit into a message."""
    shown = shortened(text)
    return f'#"{shown}"#' if "\\" in shown or '"' in shown else f'"{shown}"'


class Cursor:
    """A place in a text.

    text: the whole document.
    pos: the offset of the next character to read, in code points.
    problems: what has been found, in the order of finding.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # A byte order mark may stand at the very start and nowhere else.
        self.pos = 1 if text.startswith("\ufeff") else 0
        self.problems: list[SyntaxProblem] = []
        self._quiet_until = 0

    def note_disallowed(self) -> None:
        """Note the code points that may not stand anywhere. Raises: StopReading, see `problem`."""
        for run in _DISALLOWED_RUN.finditer(self.text, self.pos):
            self.report(_disallowed(run))

    def peek(self) -> str:
        """The next character, empty at the end."""
        return self.text[self.pos : self.pos + 1]

    def at(self, mark: str) -> bool:
        """Whether the text goes on with `mark`."""
        return self.text.startswith(mark, self.pos)

    def problem(self, start: int, end: int, message: str, help_text: str | None = None) -> None:
        """Note a problem, unless it only follows from one that covers the same place.

        Raises: StopReading when there are more than anybody will read.
        """
        if start < self._quiet_until or _DISALLOWED.search(self.text, max(start, 1), end):
            return
        self._quiet_until = max(end, start + 1)
        self.report(SyntaxProblem(message, Span(start, end), help_text))

    def report(self, problem: SyntaxProblem) -> None:
        """Note a problem wherever it stands. Raises: StopReading, see `problem`."""
        if len(self.problems) > MAX_PROBLEMS:
            raise StopReading
        if len(self.problems) == MAX_PROBLEMS:
            place = Span(self.pos, self.pos)
            message = f"more than {MAX_PROBLEMS} syntax errors: the rest was not read"
            self.problems.append(SyntaxProblem(message, place, "fix the first ones and try again"))
            raise StopReading
        self.problems.append(problem)

    def skip_space(self) -> bool:
        """Pass over what may stand between the parts of a node (node-space); tells whether there was any."""
        start, text = self.pos, self.text
        self.pos = pos = past(_SPACES, text, start)
        if text[pos : pos + 1] in _SPACE_MARKS:
            while self._skip_comment() or self._skip_continuation():
                self.pos = past(_SPACES, text, self.pos)
        return self.pos > start

    def skip_lines(self) -> None:
        """Pass over what may stand between nodes (line-space)."""
        self.pos = pos = past(_LINES, self.text, self.pos)
        if self.text[pos : pos + 1] in _SPACE_MARKS:
            while self._skip_comment() or self._skip_continuation():
                self.pos = past(_LINES, self.text, self.pos)

    def continues_line(self, offset: int) -> bool:
        """Whether the `\\` at `offset` joins the next line on: only white space and a comment may follow it."""
        here, self.pos = self.pos, offset
        try:
            return self._skip_continuation()
        finally:
            self.pos = here

    def _skip_continuation(self) -> bool:
        start = self.pos
        if not self.at("\\"):
            return False
        self.pos = past(_SPACES, self.text, start + 1)
        while self._skip_comment():
            self.pos = past(_SPACES, self.text, self.pos)
        end = _LINE_END.match(self.text, self.pos)
        self.pos = end.end() if end else start
        return end is not None

    def _skip_comment(self) -> bool:
        start, depth = self.pos, 0
        if not self.at("/*"):
            return False
        for mark in _COMMENT_MARK.finditer(self.text, start):
            depth += 1 if mark[0] == "/*" else -1
            if not depth:
                self.pos = mark.end()
                return True
        self.problem(start, start + 2, "comment is not closed", _WHOLE_COMMENT)
        raise StopReading


def _disallowed(run: re.Match[str]) -> SyntaxProblem:
    code = ord(run[0][0])
    if code == 0xFEFF:
        message, help_text = "byte order mark inside the document", "remove it: it may only be the first character"
    elif 0xD800 <= code <= 0xDFFF:
        message, help_text = f"surrogate U+{code:04X} is not a character", "save the file as UTF-8"
    else:
        message = f"character U+{code:04X} is not allowed in KDL"
        help_text = f"remove it, or write it as \\u{{{code:x}}} in a string with quotes"
    return SyntaxProblem(message, Span(run.start(), run.end()), help_text)
