"""The two streams a command writes to, and how: coloured on a terminal, plain anywhere else.

standard error: progress, warnings and diagnostics. Standard output: what a command was asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vm_manager.diagnostics.model import Diagnostic
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.ui.safe_text import safe_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from vm_manager.ui.report import Line

_STYLES = {
    "error": "bold red",
    "warning": "bold yellow",
    "advice": "bold cyan",
    "strong": "bold",
    "frame": "blue",
    "label": "bold",
    "help": "bold green",
    "mark": "bold red",
    "mark2": "bold blue",
    "quote": "dim",
    "text": "",
    "": "",
}


class OutputClosed(Exception):
    """Nobody reads standard output any more, as behind `| head`; no failure, but the end of the command."""


@dataclass(frozen=True)
class Terminal:
    """color: auto (by the stream, NO_COLOR and TERM), always or never; quiet: only failures are shown."""

    color: str = "auto"
    quiet: bool = False

    @cached_property
    def is_fancy(self) -> bool:
        """Whether standard error is drawn on by Rich: colours are wanted, or it is a terminal."""
        if self.color == "always":
            return True
        return self.is_live

    @property
    def is_live(self) -> bool:
        """Whether standard error is a terminal on which a display can move."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def err(self) -> Console:
        """Standard error through Rich."""
        from rich.console import Console

        return Console(
            stderr=True,
            no_color=True if self.color == "never" else None,
            force_terminal=True if self.color == "always" else None,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=False,
        )

    def say(self, line: str) -> None:
        """A line on standard output: what the command did. Raises: `OutputClosed`."""
        self.say_raw(safe_line(line))

    def say_raw(self, text: str) -> None:
        """A text of our own making on standard output, such as JSON. Raises: `OutputClosed`, `host::disk_full`."""
        try:
            print(text, flush=True)  # noqa: T201
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise diagnosed(error, "standard output") from error

    def tell(self, line: str) -> None:
        """A line on standard error."""
        with suppress(OSError):  # nobody reads it any more; the exit status still tells
            print(safe_line(line), file=sys.stderr, flush=True)  # noqa: T201

    def show(self, diagnostic: Diagnostic) -> None:
        """A diagnostic on standard error. A renderer that fails falls back to one that cannot."""
        from vm_manager.ui.report import report

        if self.is_fancy:
            try:
                self._draw(diagnostic)
                return
            except (UnicodeError, ValueError, ImportError) as error:
                self.tell(f"(drawn plainly: {error})")
        for line in report(diagnostic):
            self.tell(line.text)

    def _draw(self, diagnostic: Diagnostic) -> None:
        from rich.text import Text

        from vm_manager.ui.report import report

        for line in report(diagnostic):
            text = Text.assemble(*((part, _STYLES[style]) for style, part in line.parts))
            for row in _wrapped(self.err, text, line) if line.wraps else (text,):
                self.err.print(row, no_wrap=True, overflow="ignore", crop=False)


def _wrapped(console: Console, text: Text, line: Line) -> Iterable[Text]:
    """The rows of a line on a terminal of this width; continuations hang below the text, not below its label."""
    from rich.text import Text

    hang = line.hang if line.hang < console.width // 2 else 4
    head, body = text[:hang], text[hang:]
    rows = body.wrap(console, max(20, console.width - hang))
    for number, row in enumerate(rows or [body]):
        row.rstrip()
        yield (head if number == 0 else Text(" " * hang)) + row
