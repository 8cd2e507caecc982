"""What is shown while it happens."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time

import pytest

from vm_manager.diagnostics.errors import Interrupted, KvmUnusable, SshFailed
from vm_manager.domain.events import (
    Event,
    GuestOutput,
    PhaseReached,
    Progressed,
    StepFailed,
    StepFinished,
    StepStarted,
    Stream,
    Warned,
)
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.ui.display import PlainDisplay, QuietDisplay, display_for
from vm_manager.ui.terminal import Terminal

_MIB = 1024**2


def _said(vm: str, text: str, stream: Stream = Stream.STDOUT) -> GuestOutput:
    return GuestOutput(vm, stream, text)


def _lines(capsys: pytest.CaptureFixture[str], *events: Event) -> list[str]:
    with PlainDisplay(Terminal()) as display:
        for event in events:
            display(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_an_event_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    failure = SshFailed("lost").diagnostic
    assert _lines(
        capsys,
        StepStarted("web", "wait", Done(Action.WAIT)),
        PhaseReached("web", "booting", "the guest's network"),
        StepFinished("web", "wait", Done(Action.WAIT), 61.26),
        StepFailed("db", "provision", failure, 2.0),
        StepFailed("db", "wait", Interrupted("interrupted").diagnostic, 1.0),
    ) == [
        "web: waiting for the guest",
        "web: booting, waiting for the guest's network",
        "web: ready (61.3 s)",
        "db: provision failed (2.0 s)",
        "db: wait interrupted (1.0 s)",
    ]


def test_output_comes_in_whole_lines_behind_the_vms_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(
        capsys, _said("web", "one\ntw"), _said("db", "other\n"), _said("web", "o\nthr"), _said("web", "ee")
    ) == ["web | one", "db | other", "web | two", "web | three"]


def test_the_two_streams_of_a_guest_are_not_mixed_within_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, _said("web", "out"), _said("web", "err\n", Stream.STDERR), _said("web", "put\n")) == [
        "web | err",
        "web | output",
    ]


def test_what_has_no_line_end_is_shown_before_the_step_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, _said("web", "Done."), StepFinished("web", "provision", Done(Action.PROVISION), 1.0)) == [
        "web | Done.",
        "web: provisioned (1.0 s)",
    ]


def test_the_console_is_left_to_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, _said("web", "[ 0.0] Linux\npartial", Stream.CONSOLE)) == []


def test_a_guest_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, _said("web", "\x1b[31mred\x1b[0m\r\n10%\r99%\n")) == ["web | red", "web | 99%"]


def test_a_line_that_never_ends_does_not_fill_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, *[_said("web", "x" * 10_000)] * 10)
    assert sum(line.count("x") for line in lines) == 100_000
    assert len(lines) == 2


def test_a_download_tells_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    events = [Progressed("web", "fetch", done * _MIB, 200 * _MIB, "bytes") for done in range(201)]
    lines = _lines(capsys, *events)
    assert lines[0] == "web: fetch: 20 of 200 MiB"
    assert lines[-1] == "web: fetch: 200 of 200 MiB"
    assert len(lines) == 10


def test_a_download_of_unknown_length_tells_every_64_mib(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, *[Progressed("web", "fetch", done * _MIB, None, "bytes") for done in range(0, 130, 2)])
    assert lines == ["web: fetch: 64 MiB", "web: fetch: 128 MiB"]


def test_a_warning_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _lines(capsys, Warned(None, KvmUnusable("no KVM", help=("a",)).as_warning()))
    assert lines == ["warning[vm_manager::host::kvm_unusable]: no KVM", "  = help: a"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = display_for(Terminal(quiet=True))
    assert isinstance(display, QuietDisplay)
    with display:
        display(StepStarted("web", "wait", Done(Action.WAIT)))
    assert capsys.readouterr().err == ""


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(display_for(Terminal(color="always")), PlainDisplay)


def test_lines_of_several_threads_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(Terminal()) as display:

        def talk(vm: str) -> None:
            for _ in range(100):
                display(_said(vm, f"{vm * 50}\n"))

        threads = [threading.Thread(target=talk, args=(vm,)) for vm in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    lines = capsys.readouterr().err.splitlines()
    assert sorted(lines) == sorted(f"{vm} | {vm * 50}" for vm in "abcd" for _ in range(100))


# As long as the test is expected to fail; a minute when it is not.
_PATIENCE_S = 4
_LIVE = """
import time
from vm_manager.domain.events import GuestOutput, StepFinished, StepStarted, Stream
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.ui.display import LiveDisplay
from vm_manager.ui.terminal import Terminal

with LiveDisplay(Terminal()) as display:
    display(StepStarted("web", "provision", Done(Action.PROVISION, steps=2)))
    ends = time.monotonic() + 1.2
    while time.monotonic() < ends:
        display(GuestOutput("web", Stream.STDOUT, "a line of output\\n"))
    display(StepFinished("web", "provision", Done(Action.PROVISION), 1.5))
"""


def test_a_live_display_comes_to_its_end_whatever_scrolls_by() -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", _LIVE], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    drain = threading.Thread(target=_drain, args=(ours,))
    drain.start()
    try:
        assert child.wait(_PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()
        drain.join(10)
        os.close(ours)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return  # a terminal whose other side is closed gives EIO


def _eventually(capsys: pytest.CaptureFixture[str], expected: str, shown: str = "") -> str:
    """What standard error has had, as soon as it is that; a generous limit."""
    ends = time.monotonic() + 60
    while shown != expected and time.monotonic() < ends:
        time.sleep(0.01)
        shown += capsys.readouterr().err
    assert shown == expected
    return shown


def test_the_beginning_of_a_line_is_shown_before_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(Terminal()) as display:
        display(_said("web", "Continue? "))
        shown = _eventually(capsys, "web | Continue? ")
        display(_said("web", "[y/"))
        shown = _eventually(capsys, "web | Continue? [y/", shown)
        display(_said("web", "N] n\nnext"))
        shown = _eventually(capsys, "web | Continue? [y/N] n\nweb | next", shown)
        display(_said("web", "error\n", Stream.STDERR))
        display(_said("web", " line\n"))
        shown = _eventually(capsys, f"{shown}\nweb | error\nweb |  line\n", shown)
        display(_said("web", "last"))
        shown = _eventually(capsys, f"{shown}web | last", shown)
    _eventually(capsys, f"{shown}\n", shown)


def test_an_event_ends_a_line_that_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(Terminal()) as display:
        display(_said("web", "working ..."))
        shown = _eventually(capsys, "web | working ...")
        display(Warned(None, KvmUnusable("no KVM", help=("a",)).as_warning()))
        display(_said("web", "\n"))
        display(_said("web", "a"))
        shown = _eventually(
            capsys,
            "web | working ...\nwarning[vm_manager::host::kvm_unusable]: no KVM\n  = help: a\nweb | a",
            shown,
        )
        display(StepFinished("web", "provision", Done(Action.PROVISION), 1.0))
    _eventually(capsys, f"{shown}\nweb: provisioned (1.0 s)\n", shown)


def test_a_bar_that_starts_over_is_shown_when_it_begins_and_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(Terminal()) as display:
        display(_said("web", "\r 1%"))
        shown = _eventually(capsys, "web |  1%")
        for percent in range(2, 6):
            display(_said("web", f"\r {percent}%"))
            time.sleep(0.15)
        display(_said("web", "\r99%\r\n"))
        _eventually(capsys, "web |  1%\nweb | 99%\n", shown)


def test_an_escape_sequence_that_comes_in_halves_is_dropped_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(Terminal()) as display:
        display(_said("web", "a\x1b[3"))
        shown = _eventually(capsys, "web | a")
        display(_said("web", "1mred\x1b"))
        shown = _eventually(capsys, "web | ared", shown)
        display(_said("web", "[0m\n"))
        _eventually(capsys, "web | ared\n", shown)


def test_where_lines_are_read_by_a_runner_they_come_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainDisplay(Terminal(error_format="github")) as display:
        display(_said("web", "##["))
        time.sleep(0.3)
        assert capsys.readouterr().err == ""
        display(_said("web", "error]x\n"))
    assert "##[" not in capsys.readouterr().err


_ASKING = """
import sys, time
from vm_manager.domain.events import GuestOutput, StepStarted, Stream
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.ui.display import LiveDisplay
from vm_manager.ui.terminal import Terminal

with LiveDisplay(Terminal()) as display:
    display(StepStarted("web", "provision", Done(Action.PROVISION, steps=2)))
    display(GuestOutput("web", Stream.STDOUT, "one\\nContinue? \\x1b]0;title\\x07"))
    sys.stdin.readline()
"""


def test_a_question_is_seen_in_the_live_display_while_it_waits_for_its_answer() -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", _ASKING],
        stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while b"Continue?" not in shown:
            shown += os.read(ours, 65536)
    finally:
        child.communicate(b"\n", timeout=60)
        os.close(ours)
    assert re.search("web │ (\x1b\\[[0-9;]*m)*one".encode(), shown)
    assert b"title" not in shown
