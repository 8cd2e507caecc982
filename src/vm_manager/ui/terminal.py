"""The two streams a command writes to.

Standard error: progress, warnings and diagnostics, in one of four formats. Standard output: what a command was asked for.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from vm_manager.diagnostics.errors import DiskFull, VmError
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.ui.formats import ErrorFormat, choose_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from vm_manager.diagnostics.model import Diagnostic


class OutputClosed(Exception):
    """Nobody reads standard output any more, as behind `| head`; no failure, but the end of the command."""


@dataclass(frozen=True)
class Terminal:
    """How the user wants them.

    color: auto (by the stream, NO_COLOR and TERM), always or never. quiet: only failures are shown.
    error_format: empty for the one that fits. verbose: log lines are shown in between.
    """

    color: str = "auto"
    quiet: bool = False
    error_format: str = ""
    verbose: bool = False

    @cached_property
    def format(self) -> ErrorFormat:
        """How standard error is written."""
        return choose_format(self.error_format, self.color)

    @property
    def is_live(self) -> bool:
        """Whether standard error is a terminal on which a display can move."""
        # Log lines in between would tear the picture.
        return self.format is ErrorFormat.FANCY and sys.stderr.isatty() and not self.verbose

    @cached_property
    def err(self) -> Console:
        """Standard error through Rich."""
        from vm_manager.ui.fancy import console

        return console(self.color)

    @property
    def width(self) -> int | None:
        """The columns of standard output, when it is a terminal."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def say(self, line: str) -> None:
        """A line on standard output: what the command did. Raises: `OutputClosed`, `host::disk_full`."""
        self.say_raw(self._harmless(safe_line(line)))

    def say_raw(self, text: str) -> None:
        """A text of our own making on standard output, such as JSON. Raises: `OutputClosed`, `host::disk_full`."""
        with writing_output():
            print(text, flush=True)  # noqa: T201

    def say_bytes(self, data: bytes) -> None:
        """A file's content on standard output. Raises: `OutputClosed`, `host::disk_full`."""
        with writing_output():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def tell(self, line: str) -> None:
        """A line for people on standard error; for programs it is a log record."""
        if self.format is ErrorFormat.JSON:
            from vm_manager.ui.ndjson import log_line

            line = log_line("info", "vmctl", line)
        self.tell_raw(self._harmless(safe_line(line)))

    def tell_part(self, text: str, *, ends: bool = True) -> None:
        """A part of a line for people on standard error. ends: whether it is the last one."""
        with suppress(OSError):  # nobody reads it any more; the exit status still tells
            print(self._harmless(safe_line(text)), file=sys.stderr, end="\n" if ends else "", flush=True)  # noqa: T201

    def tell_raw(self, line: str) -> None:
        """A line of our own making on standard error."""
        with suppress(OSError):  # nobody reads it any more; the exit status still tells
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def show(self, diagnostic: Diagnostic) -> None:
        """A diagnostic on standard error. A renderer that fails falls back to one that cannot."""
        try:
            self._show(diagnostic)
        except Exception as error:  # whatever it is, the failure itself must not get lost
            self._show_plainly(diagnostic, error)

    def _show_plainly(self, diagnostic: Diagnostic, error: Exception) -> None:
        if self.format is ErrorFormat.JSON:
            from vm_manager.ui.ndjson import diagnostic_line

            self.tell_raw(diagnostic_line(replace(diagnostic, labels=(), suggestions=(), related=())))
            return
        self.tell(f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}")
        for advice in diagnostic.help:
            self.tell(f"  = help: {advice}")
        self.tell(f"(not drawn: {type(error).__name__})")

    def _show(self, diagnostic: Diagnostic) -> None:
        if self.format is ErrorFormat.FANCY:
            from vm_manager.ui.fancy import draw

            draw(self.err, diagnostic)
            return
        # All of it first: one that breaks off half-way would be shown twice.
        for line in tuple(self._lines(diagnostic)):
            self.tell_raw(line)

    def _lines(self, diagnostic: Diagnostic) -> Iterable[str]:
        if self.format is ErrorFormat.JSON:
            from vm_manager.ui.ndjson import diagnostic_line

            return (diagnostic_line(diagnostic),)
        if self.format is ErrorFormat.GITHUB:
            from vm_manager.ui.github import github_lines

            return github_lines(diagnostic)
        from vm_manager.ui.report import report

        ascii_only = not (sys.stderr.encoding or "").lower().startswith("utf")
        return (line.text for line in report(diagnostic, ascii=ascii_only))

    def _harmless(self, line: str) -> str:
        if self.format is not ErrorFormat.GITHUB:
            return line
        from vm_manager.ui.github import harmless

        return harmless(line)


@contextmanager
def writing_output() -> Iterator[None]:
    """Around what writes to standard output, and to nothing else. Raises: `OutputClosed`, `host::disk_full`."""
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        raise _unwritten(error) from error


def _unwritten(error: OSError) -> VmError:
    """The failure of standard output, which may be a file on a disk that is full, or a device that takes nothing."""
    with suppress(OSError):
        file = os.readlink(f"/proc/self/fd/{sys.stdout.fileno()}")
        if os.path.isfile(file):
            return diagnosed(error, file)
    if error.errno == errno.ENOSPC:
        return DiskFull("no space left for standard output", help=("write it somewhere else",))
    return diagnosed(error, "standard output")
