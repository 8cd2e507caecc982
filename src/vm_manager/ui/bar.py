"""How far a step has come: Rich's bar, the rate of the last ten seconds, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from vm_manager.domain.events import Progressed

# What came before says little about the next seconds.
_WINDOW_S = 10.0
_BAR_WIDTH = 20
_MIB = 1024 * 1024


class Bar:
    """A bar for one step, to be drawn by others; where there is too little room, the bar itself gets shorter.

    console: it is drawn on. get_time: a monotonic clock, in seconds.
    """

    def __init__(self, console: Console, get_time: Callable[[], float] = time.monotonic) -> None:
        columns = (BarColumn(_BAR_WIDTH), _Rate(), TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)))
        # Never started: it draws nothing by itself.
        self._progress = Progress(
            *columns, console=console, auto_refresh=False, speed_estimate_period=_WINDOW_S, get_time=get_time
        )
        self._begin()

    def _begin(self) -> None:
        self._task = self._progress.add_task("", total=None)

    def move(self, event: Progressed) -> None:
        """Take in how far the step has come."""
        task = self._progress.tasks[0]
        if event.current < task.completed or (event.total is None and task.total is not None):
            # Begun again, perhaps without a length, which an update would leave as it was.
            self._progress.remove_task(self._task)
            self._begin()
        self._progress.update(self._task, completed=event.current, total=event.total, unit=event.unit)

    def __rich__(self) -> RenderableType:
        """The bar as it is now."""
        return self._progress.get_renderable()


class _Rate(ProgressColumn):
    """Rich's own counts in decimal units, which nothing else here does."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        if task.fields.get("unit") != "bytes" or task.speed is None:
            return Text()
        return Text(f"{task.speed / _MIB:.1f} MiB/s", style="dim")
