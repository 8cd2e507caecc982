"""What is quoted of a log."""

from __future__ import annotations

import pytest

from vm_manager.diagnostics.excerpt import excerpt

_DUMP = [f"R{number}=0000000000000000" for number in range(30)]


def test_a_register_dump_does_not_push_out_its_own_cause() -> None:
    log = ["QEMU says hello", "warning: something", "KVM internal error. Suberror: 1", "extra data[0]: 1", *_DUMP]
    assert excerpt(log, 3) == (
        "QEMU says hello",
        "warning: something",
        "KVM internal error. Suberror: 1",
        "extra data[0]: 1",
        "R0=0000000000000000",
        "R1=0000000000000000",
        "… 25 lines …",
        "R27=0000000000000000",
        "R28=0000000000000000",
        "R29=0000000000000000",
    )


def test_an_error_among_the_last_lines_is_shown_once() -> None:
    log = ["one", "two", "three", "error: no such file"]
    assert excerpt(log, 2) == ("three", "error: no such file")


def test_the_lines_around_an_error_just_before_the_end_stand_without_a_gap() -> None:
    assert excerpt(["one", "error: two", "three", "four"], 2) == ("one", "error: two", "three", "four")


@pytest.mark.parametrize("line", ["0 errors", "finished without errors", "errors: 0", "mirror", "no error"])
def test_what_says_that_all_is_well_is_no_error(line: str) -> None:
    assert excerpt([line, "two", "three"], 1) == ("three",)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_short_log_is_shown_whole(count: int) -> None:
    lines = [str(number) for number in range(count)]
    assert excerpt(lines, 12) == tuple(lines)
