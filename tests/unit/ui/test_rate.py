"""Rates and what is made of them."""

from __future__ import annotations

import pytest

from vm_manager.ui.rate import Rate, bar, duration


def test_nothing_is_said_of_a_rate_before_there_is_one() -> None:
    rate = Rate()
    assert (rate.per_s, rate.left_s(10)) == (None, None)
    rate.add(1.0, 5)
    assert (rate.per_s, rate.left_s(10)) == (None, None)


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = Rate()
    for second in range(100):
        rate.add(float(second), second * 1000)
    for second in range(100, 120):
        rate.add(float(second), 99_000 + second)
    assert rate.per_s == 1.0
    assert rate.left_s(99_119 + 7) == 7.0


def test_a_count_that_begins_again_has_a_rate_of_its_own() -> None:
    rate = Rate()
    rate.add(0.0, 1000)
    rate.add(1.0, 0)
    rate.add(2.0, 30)
    assert rate.per_s == 30.0


def test_what_stands_still_will_never_be_done() -> None:
    rate = Rate()
    rate.add(0.0, 5)
    rate.add(1.0, 5)
    assert rate.left_s(10) is None


@pytest.mark.parametrize(
    ("current", "total", "drawn"),
    [(0, 10, "[" + " " * 20 + "]"), (5, 10, "[" + "=" * 10 + " " * 10 + "]"), (12, 10, "[" + "=" * 20 + "]")],
)
def test_a_bar_is_as_long_as_what_is_done(current: int, total: int, drawn: str) -> None:
    assert bar(current, total) == drawn


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (125, "2:05 min"), (3723, "1:02:03 h"), (90000, "25:00:00 h")]
)
def test_a_duration_is_told_in_a_word(seconds: float, words: str) -> None:
    assert duration(seconds) == words
