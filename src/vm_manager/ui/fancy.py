"""Diagnostics drawn for a person: coloured, and folded to the width of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.cells import cell_len, chop_cells
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
# A command between backquotes is one word: broken, it could not be copied. So is a number with its unit.
_WORD = re.compile(r"(?:`[^`]*`|(?<=\d) (?=(?:s|ms|min|h|bytes|[KMGT]iB)\b)|\S)+\s*")


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
    width = max(_NARROWEST, console.width - hang)
    body.expand_tabs(8)
    rows = body.wrap(console, width) if line.margin else body.divide(_breaks(body.plain, width))
    for number, row in enumerate(rows or [body]):
        row.rstrip()
        # Not `margin + row`, which would be drawn in the margin's style from end to end.
        yield Text.assemble(head if number == 0 else margin, row)


def _breaks(text: str, width: int) -> Iterator[int]:
    """Where the rows but the first begin, each with as many words as fit. The terminal folds a longer command."""
    begin = 0
    for word in _WORD.finditer(text):
        if begin < word.start() and cell_len(text[begin : word.start()] + word[0].rstrip()) > width:
            begin = word.start()
            yield begin
        if "`" not in word[0]:
            for piece in chop_cells(text[begin : word.end()].rstrip(), width)[:-1]:
                begin += len(piece)
                yield begin
