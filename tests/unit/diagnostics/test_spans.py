"""Offsets, and the lines and columns a person counts."""

from __future__ import annotations

import pytest

from vm_manager.diagnostics.spans import Source, Span


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_lines_and_columns_count_from_one_whatever_ends_a_line(end: str) -> None:
    source = Source("f", f"ab{end}c{end}{end}d")
    assert source.position(0) == (1, 1)
    assert source.position(1) == (1, 2)
    assert source.position(source.text.index("c")) == (2, 1)
    assert source.position(source.text.index("d")) == (4, 1)
    assert [source.line(number) for number in range(1, 5)] == ["ab", "c", "", "d"]


def test_columns_are_counted_in_code_points() -> None:
    assert Source("f", "日本🙂x").position(3) == (1, 4)


def test_the_end_of_the_text_is_a_place() -> None:
    assert Source("f", "").position(0) == (1, 1)
    assert Source("f", "ab").position(2) == (1, 3)
    assert Source("f", "ab\n").position(3) == (2, 1)


def test_a_line_that_is_not_there_is_empty() -> None:
    source = Source("f", "ab\n")
    assert source.line(2) == source.line(3) == source.line(0) == source.line(-1) == ""


def test_a_line_feed_before_a_carriage_return_ends_two_lines() -> None:
    assert Source("f", "a\n\rb").position(3) == (3, 1)


def test_spans_join_to_the_farther_end() -> None:
    assert Span(2, 4).to(Span(6, 9)) == Span(2, 9)
    assert Span(2, 9).to(Span(3, 4)) == Span(2, 9)


@pytest.mark.parametrize(("start", "end"), [(-1, 0), (3, 2)])
def test_a_span_that_ends_before_it_begins_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a span"):
        Span(start, end)


def test_a_thousand_positions_in_a_long_text_are_quick() -> None:
    source = Source("f", "x\n" * 200_000)
    assert [source.position(offset)[0] for offset in range(0, 400_000, 400)] == list(range(1, 200_001, 200))


def test_what_is_hidden_leaves_everything_else_in_its_place() -> None:
    source = Source("f", 'env "A" "two\r\nlines"; more')
    hidden = source.without((Span(8, 20), Span(3, 3)))
    assert hidden.text == 'env "A" …   \r\n      ; more'
    assert len(hidden.text) == len(source.text)
    assert hidden.position(22) == source.position(22)
