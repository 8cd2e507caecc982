"""What a step says: how it is kept, and what is not quoted of it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_manager.domain.events import Event, GuestOutput, Stream
from vm_manager.guest.step_output import ProvisionLog, Secrets, StepOutput

_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 (.*)")


def _logged(path: Path) -> list[str]:
    found = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert None not in found
    return [line[1] for line in found if line]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "provision.log"


def test_every_line_has_its_time_and_stream(path: Path) -> None:
    with ProvisionLog(path) as log:
        log.line("=== step 1")
        log.text(Stream.STDOUT, "one\ntw")
        log.text(Stream.STDERR, "error\n")
        log.text(Stream.STDOUT, "o\nthree")
        log.line("=== done\nreally")
    assert _logged(path) == [
        "=== step 1", "stdout: one", "stderr: error", "stdout: two", "stdout: three", "=== done really",
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_does_not_end_is_in_the_log_after_a_while(path: Path) -> None:
    with ProvisionLog(path) as log:
        log.text(Stream.STDOUT, "Continue? ")
        ends = time.monotonic() + 60
        while not path.read_text() and time.monotonic() < ends:
            log.look()
            time.sleep(0.05)
        assert _logged(path) == ["stdout: Continue? "]
        log.text(Stream.STDOUT, "yes\n")
    assert _logged(path) == ["stdout: Continue? ", "stdout: yes"]


def test_an_endless_line_is_cut_not_kept_in_memory(path: Path) -> None:
    with ProvisionLog(path) as log:
        for _ in range(10):
            log.text(Stream.STDOUT, "x" * 50_000)
        assert sum(line.count("x") for line in _logged(path)) > 400_000
    assert sum(line.count("x") for line in _logged(path)) == 500_000


def test_a_flood_does_not_fill_the_disk(path: Path) -> None:
    with ProvisionLog(path) as log:
        for number in range(400):
            log.text(Stream.STDOUT, f"{number} {'x' * 99_998}\n")
    kept = [*path.parent.glob("provision.log*")]
    assert sum(file.stat().st_size for file in kept) < 20 * 1024**2
    assert len(kept) == 4
    assert _logged(path)[-1].startswith("stdout: 399 ")


def test_reading_the_log_is_safe(path: Path) -> None:
    with ProvisionLog(path) as log:
        log.text(Stream.STDOUT, "\x1b[31mred\x1b[0m\x1b]0;title\x07 \x00\x9b1m\r\nend \ud800\n")
    assert _logged(path) == ["stdout: red 1m", "stdout: end ?"]


def _heard(path: Path, secrets: list[str], *texts: str) -> StepOutput:
    events: list[Event] = []
    with ProvisionLog(path) as log:
        output = StepOutput("web", events.append, log, Secrets(secrets))
        for text in texts:
            output(Stream.STDOUT, text)
    assert [event.text for event in events if isinstance(event, GuestOutput)] == list(texts)
    return output


def test_the_last_lines_are_the_evidence(path: Path) -> None:
    evidence = _heard(path, [], *(f"line {number}\n" for number in range(50))).evidence()
    assert evidence.lines == tuple(f"line {number}" for number in range(40, 50))
    assert evidence.truncated
    assert evidence.path == str(path)
    assert not _heard(path, [], "a\n", "b").evidence().truncated


def test_values_of_variables_are_not_in_the_evidence(path: Path) -> None:
    output = _heard(path, ["hunter22", "22", "", "two\nlines"], "pass hunt", "er22 22\n", "two\nlines|lines|two\n")
    assert output.evidence().lines == ("pass … 22", "…|…|…")


def test_of_a_value_that_the_cut_goes_through_nothing_is_left(path: Path) -> None:
    secret = "s3cr3t-" * 20
    for length in range(4000, 4500, 7):
        (line,) = _heard(path, [secret], secret, "x" * length).evidence().lines
        assert set(line) <= {"x", "…"}


@settings(max_examples=100, deadline=None, database=None)
@given(secret=st.text("ab", min_size=3, max_size=9), text=st.text("abc\n", max_size=60))
def test_no_value_survives(secret: str, text: str) -> None:
    assert secret not in Secrets([secret]).hidden_in(text)
