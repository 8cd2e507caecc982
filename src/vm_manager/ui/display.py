"""Drawing what happens while it happens: live on a terminal, a line per event elsewhere."""

from __future__ import annotations

import re
import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from vm_manager.diagnostics.errors import Interrupted
from vm_manager.domain.events import (
    Event,
    GuestOutput,
    Noticed,
    PhaseReached,
    Progressed,
    StepFailed,
    StepFinished,
    StepStarted,
    Stream,
    Warned,
)
from vm_manager.ui.formats import ErrorFormat
from vm_manager.ui.guest_lines import GuestLines, Output, Piece
from vm_manager.ui.ndjson import event_line
from vm_manager.ui.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vm_manager.ui.bar import Bar

_REFRESH_PER_S = 10
_NARROWEST = 20
_UNFINISHED_S = 0.1
_MIB = 1024 * 1024
# `[    1.935360] `, by printk_time: of no use in a line that is gone a moment later.
_KERNEL_TIME = re.compile(r"^\[ *\d+\.\d{6}\] ")


class Display(AbstractContextManager["Display"], Protocol):
    """A context manager that is told events, from several threads, between its beginning and its end."""

    def __call__(self, event: Event) -> None:
        """Draw an event."""


def display_for(terminal: Terminal) -> Display:
    """The display that fits: quiet, live, JSON or plain."""
    if terminal.quiet:
        return QuietDisplay(terminal)
    if terminal.format is ErrorFormat.JSON:
        return JsonDisplay(terminal)
    return LiveDisplay(terminal) if terminal.is_live else PlainDisplay(terminal)


class QuietDisplay:
    """Shows nothing: failures are shown when the command ends."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: Event) -> None:
        """Say nothing."""


class JsonDisplay:
    """One JSON object per event."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()

    def __enter__(self) -> JsonDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: Event) -> None:
        """Write the event's line."""
        with self._lock:
            self._terminal.tell_raw(event_line(event))


class PlainDisplay:
    """A line per event on standard error; the guest's output behind the VM's name, unfinished lines after a moment, too."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()
        self._output = GuestLines()
        self._open: Output | None = None
        self._timer: threading.Timer | None = None
        self._told_percent: dict[str, int] = {}
        # Log lines know of no line that is still open, and the runner's commands are looked for in whole lines.
        self._shows_unfinished = terminal.format is not ErrorFormat.GITHUB and not terminal.verbose

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._write(self._output.end())
            self._close()

    def __call__(self, event: Event) -> None:
        """Write the event's lines."""
        with self._lock:
            if isinstance(event, Warned):
                self._close()
                self._terminal.show(event.diagnostic)
            elif isinstance(event, GuestOutput):
                # The console is in console.log; line after line of it would bury everything else.
                if event.stream is not Stream.CONSOLE:
                    self._write(self._output.add(event))
                    self._look_again()
            elif text := self._describe(event):
                self._write(self._output.end(event.vm))
                self._close()
                self._terminal.tell(f"{event.vm}: {text}")

    def _look_again(self) -> None:
        if self._timer is None and self._shows_unfinished and self._output.waiting:
            self._timer = threading.Timer(_UNFINISHED_S, self._show_unfinished)
            self._timer.daemon = True
            self._timer.start()

    def _show_unfinished(self) -> None:
        with self._lock:
            self._timer = None
            self._write(self._output.begin())

    def _write(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.continues and piece.output == self._open:
                self._terminal.tell_part(piece.text, ends=piece.ends)
            elif piece.text or not piece.continues:
                self._close()
                self._terminal.tell_part(f"{piece.output[0]} | {piece.text}", ends=piece.ends)
            self._open = None if piece.ends else piece.output

    def _close(self) -> None:
        """End the line that is open: something else is to be written."""
        if self._open is not None:
            self._open = None
            self._terminal.tell_part("")

    def _describe(self, event: Event) -> str | None:
        match event:
            case StepStarted():
                return _begun(event)
            case StepFinished(elapsed_s=elapsed):
                return f"{_ended(event)} ({elapsed:.1f} s)"
            case StepFailed(elapsed_s=elapsed):
                return f"{_broken_off(event)} ({elapsed:.1f} s)"
            case PhaseReached(phase=phase, waiting_for=waiting_for):
                return f"{phase}, waiting for {waiting_for}"
            case Progressed():
                return self._tenths(event)
            case Noticed(text=text):
                return text
        return None

    def _tenths(self, event: Progressed) -> str | None:
        """Every tenth of a download, not every block."""
        tenth = event.current * 10 // event.total if event.total else event.current // (64 * _MIB)
        if tenth == self._told_percent.get(event.vm, 0):
            return None
        self._told_percent[event.vm] = tenth
        return f"{event.step}: {_amount(event)}"


def _begun(event: StepStarted) -> str:
    from vm_manager.ui.outcomes import announce

    return announce(event.doing)


def _ended(event: StepFinished) -> str:
    from vm_manager.ui.outcomes import describe

    return describe(event.outcome)


class LiveDisplay:
    """A line per VM at the bottom of the terminal; what provisioners print scrolls by above."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._terminal = terminal
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._output = GuestLines()
        # A command that is over in a blink draws nothing.
        self._live = Live(
            get_renderable=self._table, console=terminal.err, refresh_per_second=_REFRESH_PER_S, transient=True
        )

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            rest = self._said(self._output.end())
        self._print(rest)
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take the event into the picture."""
        if isinstance(event, Warned):
            self._terminal.show(event.diagnostic)
            return
        if isinstance(event, Noticed):
            self._print([self._noticed(event)])
            return
        with self._lock:
            lines = self._take_in(event, self._rows.setdefault(event.vm, _Row(self._terminal.err)))
        # Not while we hold our lock: Rich's refresh holds its own while it asks us for the table.
        self._print(lines)

    def _take_in(self, event: Event, row: _Row) -> list[Text]:
        """Change the picture; the lines that are to scroll by above it."""
        if isinstance(event, GuestOutput):
            pieces = self._output.add(event)
            if event.stream is not Stream.CONSOLE:
                # A question without line end, say, is seen in the VM's own line.
                row.detail = self._output.unfinished((event.vm, event.stream))
                return self._said(pieces)
            row.detail = _KERNEL_TIME.sub("", pieces[-1].text) if pieces else row.detail
            return []
        row.update(event)
        if not isinstance(event, StepFinished):
            return []
        return [*self._said(self._output.end(event.vm)), self._done(event)]

    def _said(self, pieces: list[Piece]) -> list[Text]:
        from rich.text import Text

        return [Text.assemble((f"{piece.output[0]} │ ", "cyan"), piece.text) for piece in pieces]

    def _noticed(self, event: Noticed) -> Text:
        from rich.text import Text

        return Text.assemble(("• ", "yellow"), (event.vm, "bold"), f" {event.text}")

    def _done(self, event: StepFinished) -> Text:
        from rich.text import Text

        took = (f"{event.elapsed_s:.1f} s", "dim")
        return Text.assemble(("✔ ", "green"), (event.vm, "bold"), f" {_ended(event)} ", took)

    def _print(self, lines: list[Text]) -> None:
        from rich.text import Text

        if lines:
            # Together: each call draws the picture below anew.
            self._live.console.print(Text("\n").join(lines), soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        # The terminal echoes a Ctrl-C as ^C: that must not begin a new line, which would not be erased in the end.
        table = Table.grid(padding=(0, 1), expand=True)
        table.width = max(_NARROWEST, self._terminal.err.width - len("^C"))
        table.add_column(width=1)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=50)
        table.add_column(no_wrap=True, justify="right", style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
        now = time.monotonic()
        spinner = self._spinner
        with self._lock:
            for vm, row in self._rows.items():
                mark = Text(row.mark, row.style) if row.mark else spinner
                table.add_row(mark, vm, Text(row.text), f"{row.elapsed_s(now):.0f}s", row.bar or Text(row.detail))
        return table


class _Row:
    """What the live display knows of a VM."""

    def __init__(self, console: Console) -> None:
        self.text, self.detail, self.mark, self.style = "", "", "", ""
        self.bar: Bar | None = None
        self._console = console
        self._started = time.monotonic()
        self._ended: float | None = None

    def elapsed_s(self, now: float) -> float:
        return (self._ended or now) - self._started

    def update(self, event: Event) -> None:
        match event:
            case StepStarted():
                self.text, self.detail, self.mark, self.bar = _begun(event), "", "", None
            case PhaseReached(phase=phase, waiting_for=waiting_for):
                self.text, self.bar = f"{phase}, waiting for {waiting_for}", None
            case Progressed():
                self.text = f"{event.step} {_amount(event)}"
                self._moved(event)
            case StepFinished():
                self.text, self.detail, self.bar = _ended(event), "", None
                self.mark, self.style = "✔", "green"
            case StepFailed():
                self.text, self.mark, self.style, self.bar = _broken_off(event), "✘", "red", None
                self._ended = time.monotonic()

    def _moved(self, event: Progressed) -> None:
        if self.bar is None:
            # Only what takes its time has one.
            from vm_manager.ui.bar import Bar

            self.bar = Bar(self._console)
        self.bar.move(event)


def _broken_off(event: StepFailed) -> str:
    """How a step ended: whoever has pressed Ctrl-C has not seen it fail."""
    return f"{event.step} {'interrupted' if event.diagnostic.code == Interrupted.code else 'failed'}"


def _amount(event: Progressed) -> str:
    if event.unit != "bytes":
        return f"{event.current} of {event.total} {event.unit}" if event.total else f"{event.current} {event.unit}"
    most = event.total or event.current
    size, unit = (_MIB, "MiB") if most >= _MIB else (1024, "KiB") if most >= 1024 else (1, "bytes")
    done = f"{event.current / size:.0f}"
    return f"{done} of {event.total / size:.0f} {unit}" if event.total else f"{done} {unit}"
