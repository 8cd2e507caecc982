"""How far a step has come, as it is drawn."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from vm_manager.domain.events import Progressed
from vm_manager.ui.bar import Bar

_MIB = 1024**2


class _Drawn:
    """A bar on a terminal of some columns, and the clock that it looks at."""

    def __init__(self, width: int = 80) -> None:
        self.now = 0.0
        self._console = Console(file=StringIO(), width=width, color_system=None)
        self._bar = Bar(self._console, lambda: self.now)

    def at(self, now: float, current: int, total: int | None = 100 * _MIB, unit: str = "bytes") -> str:
        self.now = now
        self._bar.move(Progressed("web", "fetch", current, total, unit))
        with self._console.capture() as capture:
            self._console.print(self._bar)
        return capture.get().rstrip()


def test_nothing_is_said_of_a_rate_before_there_is_one() -> None:
    assert "MiB/s" not in _Drawn().at(0, 5 * _MIB)


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    drawn = _Drawn()
    for second in range(10):
        drawn.at(second, second * 9 * _MIB)
    for second in range(10, 20):
        shown = drawn.at(second, (81 + second - 9) * _MIB)
    assert shown.endswith(" 1.0 MiB/s 00:09")


def test_a_count_that_begins_again_has_a_rate_of_its_own() -> None:
    drawn = _Drawn()
    drawn.at(0, 0)
    drawn.at(1, 50 * _MIB)
    drawn.at(2, 0)
    drawn.at(3, 2 * _MIB)
    assert drawn.at(4, 4 * _MIB).endswith(" 2.0 MiB/s 00:48")


def test_what_has_no_known_end_has_a_rate_alone() -> None:
    drawn = _Drawn()
    drawn.at(0, 0, None)
    drawn.at(1, _MIB, None)
    assert drawn.at(2, 2 * _MIB, None).split()[1:] == ["1.0", "MiB/s"]


def test_what_is_not_counted_in_bytes_has_no_rate() -> None:
    drawn = _Drawn()
    for second in range(3):
        shown = drawn.at(second, second, 10, "files")
    assert shown.endswith(" 00:08")
    assert "MiB" not in shown


@pytest.mark.parametrize(("current", "full"), [(0, 0), (50, 10), (100, 20)])
def test_a_bar_is_as_long_as_what_is_done(current: int, full: int) -> None:
    assert _Drawn().at(0, current * _MIB).count("━") == full


@pytest.mark.parametrize("width", [24, 30])
def test_where_room_is_short_the_bar_is_and_the_figures_are_whole(width: int) -> None:
    drawn = _Drawn(width)
    drawn.at(0, 0)
    drawn.at(1, 10 * _MIB)
    shown = drawn.at(2, 20 * _MIB)
    assert shown.endswith(" 10.0 MiB/s 00:08")
    assert len(shown) <= width
