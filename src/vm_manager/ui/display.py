"""Drawing what happens while it happens: live on a terminal, a line per event elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from vm_manager.diagnostics.safe_text import safe_lines
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
from vm_manager.ui.ndjson import event_line
from vm_manager.ui.rate import Rate, bar, duration
from vm_manager.ui.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_REFRESH_PER_S = 8
_MIB = 1024 * 1024


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
    """A line per event on standard error; the guest's output by whole lines, behind the VM's name."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = threading.Lock()
        self._output = _Lines()
        self._told_percent: dict[str, int] = {}

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        for vm, line in self._output.rest():
            self._terminal.tell(f"{vm} | {line}")

    def __call__(self, event: Event) -> None:
        """Write the event's lines."""
        with self._lock:
            if isinstance(event, Warned):
                self._terminal.show(event.diagnostic)
            elif isinstance(event, GuestOutput):
                # The console is in console.log; line after line of it would bury everything else.
                if event.stream is not Stream.CONSOLE:
                    for line in self._output.add(event):
                        self._terminal.tell(f"{event.vm} | {line}")
            elif text := self._describe(event):
                for vm, line in self._output.rest(event.vm):
                    self._terminal.tell(f"{vm} | {line}")
                self._terminal.tell(f"{event.vm}: {text}")

    def _describe(self, event: Event) -> str | None:
        match event:
            case StepStarted(title=title):
                return title
            case StepFinished(outcome=outcome, elapsed_s=elapsed):
                return f"{outcome} ({elapsed:.1f} s)"
            case StepFailed(step=step, elapsed_s=elapsed):
                return f"{step} failed ({elapsed:.1f} s)"
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


class LiveDisplay:
    """A line per VM at the bottom of the terminal; what provisioners print scrolls by above."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._terminal = terminal
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._output = _Lines()
        # A command that is over in a blink draws nothing.
        self._live = Live(
            get_renderable=self._table, console=terminal.err, refresh_per_second=_REFRESH_PER_S, transient=True
        )

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            rest = [self._said(vm, line) for vm, line in self._output.rest()]
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
            lines = self._take_in(event, self._rows.setdefault(event.vm, _Row()))
        # Not while we hold our lock: Rich's refresh holds its own while it asks us for the table.
        self._print(lines)

    def _take_in(self, event: Event, row: _Row) -> list[Text]:
        """Change the picture; the lines that are to scroll by above it."""
        if isinstance(event, GuestOutput):
            lines = self._output.add(event)
            if event.stream is not Stream.CONSOLE:
                return [self._said(event.vm, line) for line in lines]
            row.detail = lines[-1] if lines else row.detail
            return []
        row.update(event)
        if not isinstance(event, StepFinished):
            return []
        return [*(self._said(vm, line) for vm, line in self._output.rest(event.vm)), self._done(event)]

    def _said(self, vm: str, line: str) -> Text:
        from rich.text import Text

        return Text.assemble((f"{vm} │ ", "cyan"), line)

    def _noticed(self, event: Noticed) -> Text:
        from rich.text import Text

        return Text.assemble(("• ", "yellow"), (event.vm, "bold"), f" {event.text}")

    def _done(self, event: StepFinished) -> Text:
        from rich.text import Text

        took = (f"{event.elapsed_s:.1f} s", "dim")
        return Text.assemble(("✔ ", "green"), (event.vm, "bold"), f" {event.outcome} ", took)

    def _print(self, lines: list[Text]) -> None:
        for line in lines:
            self._live.console.print(line, soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=True)
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
                table.add_row(mark, vm, Text(row.text), f"{row.elapsed_s(now):.0f}s", Text(row.detail))
        return table


class _Row:
    """What the live display knows of a VM."""

    def __init__(self) -> None:
        self.text, self.detail, self.mark, self.style = "", "", "", ""
        self._started = time.monotonic()
        self._ended: float | None = None
        self._rate = Rate()

    def elapsed_s(self, now: float) -> float:
        return (self._ended or now) - self._started

    def update(self, event: Event) -> None:
        match event:
            case StepStarted(title=title):
                self.text, self.detail, self.mark = title, "", ""
                self._rate = Rate()
            case PhaseReached(phase=phase, waiting_for=waiting_for):
                self.text = f"{phase}, waiting for {waiting_for}"
            case Progressed():
                self.text, self.detail = f"{event.step} {_amount(event)}", self._pace(event)
            case StepFinished(outcome=outcome):
                self.text, self.detail, self.mark, self.style = outcome, "", "✔", "green"
            case StepFailed(step=step):
                self.text, self.mark, self.style = f"{step} failed", "✘", "red"
                self._ended = time.monotonic()

    def _pace(self, event: Progressed) -> str:
        """A bar, the rate, and how long it will still take, as far as each can be told."""
        self._rate.add(time.monotonic(), event.current)
        parts = [bar(event.current, event.total)] if event.total else []
        if event.unit == "bytes" and (per_s := self._rate.per_s) is not None:
            parts.append(f"{per_s / _MIB:.1f} MiB/s")
        if event.total and (left_s := self._rate.left_s(event.total)) is not None:
            parts.append(f"{duration(left_s)} left")
        return " ".join(parts)


class _Lines:
    """Puts the pieces that a guest's streams arrive in back together into lines."""

    def __init__(self) -> None:
        self._partial: dict[tuple[str, Stream], str] = {}

    def add(self, event: GuestOutput) -> list[str]:
        key = (event.vm, event.stream)
        text = self._partial.pop(key, "") + event.text
        *lines, rest = text.split("\n")
        # A guest that never ends its line must not fill our memory.
        if len(rest) > 64 * 1024:
            lines, rest = [*lines, rest], ""
        if rest:
            self._partial[key] = rest
        return safe_lines("\n".join(lines)) if lines else []

    def rest(self, of: str | None = None) -> list[tuple[str, str]]:
        """What is left without a line end, of one VM or of all."""
        keys = [key for key in self._partial if (of is None or key[0] == of) and key[1] is not Stream.CONSOLE]
        return [(key[0], line) for key in keys for line in safe_lines(self._partial.pop(key))]


def _amount(event: Progressed) -> str:
    if event.unit != "bytes":
        return f"{event.current} of {event.total} {event.unit}" if event.total else f"{event.current} {event.unit}"
    size, unit = (_MIB, "MiB") if (event.total or event.current) >= _MIB else (1024, "KiB")
    done = f"{event.current / size:.0f}"
    return f"{done} of {event.total / size:.0f} {unit}" if event.total else f"{done} {unit}"
