"""Diagnostics drawn for a person: coloured, and folded to the width of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from vm_manager.diagnostics.model import Diagnostic
from vm_manager.ui.report import Line, report

_STYLES = {
    "error": "bold red",
    "warning": "bold yellow",
    "advice": "bold cyan",
    "strong": "bold",
    "frame": "bright_blue",
    "label": "bold",
    "help": "bold green",
    "mark": "bold red",
    "mark2": "bold bright_blue",
    "quote": "dim",
    "text": "",
    "": "",
}
_NARROWEST = 8
_COMMAND = re.compile("`[^`]+`")
_WORD = re.compile(r"\S+\s*")
# For a space within a command: a character of the private use area, which no text that is shown has.
_SPACE = "\ue000"


def console(color: str) -> Console:
    """Standard error through Rich. color: auto, always or never."""
    return Console(
        stderr=True,
        # What the command line demands wins over NO_COLOR: https://no-color.org
        no_color={"never": True, "always": False}.get(color),
        force_terminal=True if color == "always" else None,
        color_system="256" if color == "always" else "auto",  # demanded, whatever TERM says
        markup=False,
        emoji=False,
        highlight=False,
    )


def draw(console: Console, diagnostic: Diagnostic) -> None:
    """Print a diagnostic."""
    ascii_only = not console.encoding.startswith("utf")
    for line in report(diagnostic, width=console.width, ascii=ascii_only):
        text = Text.assemble(*((part, _STYLES[style]) for style, part in line.parts))
        for row in _folded(console, text, line) if line.wraps else (text,):
            console.print(row, no_wrap=True, overflow="ignore", crop=False)


def _folded(console: Console, text: Text, line: Line) -> Iterable[Text]:
    """The rows of a line on a terminal of this width; continuations hang below the text, not below its label."""
    hang = line.hang if line.hang < console.width // 2 else min(4, line.hang)
    head, body = text[:hang], text[hang:]
    margin = Text(line.margin or " " * hang, _STYLES["frame"])
    rows = _wrapped(console, body, max(_NARROWEST, console.width - hang), whole=not line.margin)
    for number, row in enumerate(rows or [body]):
        row.rstrip()
        # Not `margin + row`, which would be drawn in the margin's style from end to end.
        yield Text.assemble(head if number == 0 else margin, row)


def _wrapped(console: Console, body: Text, width: int, *, whole: bool) -> list[Text]:
    """The rows of a text. whole: no command is broken; the terminal folds one that is too long, so that it can be copied."""
    if whole:
        body.plain = _COMMAND.sub(lambda found: found[0].replace(" ", _SPACE), body.plain)
    if any(cell_len(found[0]) > width for found in _COMMAND.finditer(body.plain) if whole):
        rows = list(body.divide(_breaks(body.plain, width)))
    else:
        rows = list(body.wrap(console, width))
    for row in rows:
        row.plain = row.plain.replace(_SPACE, " ")
    return rows


def _breaks(text: str, width: int) -> Iterator[int]:
    """Where the rows but the first begin, each with as many words as fit."""
    column = 0
    for found in _WORD.finditer(text):
        if column and column + cell_len(found[0].rstrip()) > width:
            yield found.start()
            column = 0
        column += cell_len(found[0])
