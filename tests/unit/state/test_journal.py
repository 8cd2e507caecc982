"""The journal, and the last failure that is derived from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import BootTimeout, GuestPanicked, QemuExited, QemuIoError, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.instance import INCIDENT, Incident
from vm_manager.state.journal import (
    as_failure,
    is_end_explained,
    last_failure,
    record_begun,
    record_failure,
    record_incident,
    record_success,
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def _fail(journal: Path, operation: str, message: str = "not in time") -> None:
    record_failure(journal, operation, BootTimeout("{text}", {"text": message}, help=("look", "wait")).diagnostic)


def _last(journal: Path) -> tuple[str, str] | None:
    failure = last_failure(journal)
    return (failure.operation, failure.message) if failure else None


def test_without_a_journal_there_is_no_failure(journal: Path) -> None:
    assert last_failure(journal) is None


def test_a_failure_is_kept_with_all_that_status_shows(journal: Path) -> None:
    _fail(journal, "wait")
    failure = last_failure(journal)
    assert failure
    assert (failure.code, failure.help) == ("vm_manager::guest::boot_timeout", ("look", "wait"))
    assert failure.time.endswith("+00:00")


def test_a_success_of_the_same_operation_outdates_it(journal: Path) -> None:
    _fail(journal, "wait")
    record_success(journal, "wait")
    assert _last(journal) is None


def test_a_success_of_another_operation_does_not(journal: Path) -> None:
    _fail(journal, "wait")
    record_success(journal, "start")
    assert _last(journal) == ("wait", "not in time")


def test_a_failure_after_the_success_counts_again(journal: Path) -> None:
    _fail(journal, "wait", "first")
    record_success(journal, "wait")
    _fail(journal, "wait", "second")
    assert _last(journal) == ("wait", "second")


def test_the_newest_of_several_counts_and_the_older_one_when_that_is_outdated(journal: Path) -> None:
    _fail(journal, "wait")
    _fail(journal, "stop")
    assert _last(journal) == ("stop", "not in time")
    record_success(journal, "stop")
    assert _last(journal) == ("wait", "not in time")


def test_lines_that_are_torn_or_strange_are_skipped(journal: Path) -> None:
    _fail(journal, "wait")
    with journal.open("ab") as file:
        file.write(b'\n\xff\xfe\n[]\n7\n{"operation": "stop", "outc')
    assert _last(journal) == ("wait", "not in time")


def test_what_is_recorded_after_a_torn_line_is_not_lost(journal: Path) -> None:
    journal.write_bytes(b'{"time": "2026-01-01T00:00:00", "oper')
    _fail(journal, "wait")
    assert _last(journal) == ("wait", "not in time")


def test_only_the_end_of_a_huge_journal_is_read(journal: Path) -> None:
    _fail(journal, "wait")
    with journal.open("ab") as file:
        file.write(b'{"operation": "start", "outcome": "ok"}\n' * 100_000)
    _fail(journal, "stop")
    assert _last(journal) == ("stop", "not in time")


def test_a_journal_that_cannot_be_read_is_diagnosed(journal: Path) -> None:
    journal.mkdir()
    with pytest.raises(VmError):
        last_failure(journal)


def test_what_shows_the_failure_is_kept_shortened(journal: Path) -> None:
    lines = tuple(f"line {number} {'x' * 300}" for number in range(50))
    error = BootTimeout("not in time", evidence=(Evidence("console", "the console", lines, "/a/log"),) * 9)
    record_failure(journal, "wait", error.diagnostic)
    failure = last_failure(journal)
    assert failure
    assert len(failure.evidence) == 4
    kept = failure.evidence[0]
    assert (kept.kind, kept.title, kept.path, kept.truncated) == ("console", "the console", "/a/log", True)
    assert [line.split()[1] for line in kept.lines] == [str(number) for number in range(30, 50)]
    assert {len(line) for line in kept.lines} == {200}


def test_evidence_that_says_why_it_is_missing_comes_back_as_it_was(journal: Path) -> None:
    whole = Evidence("kernel_log", "the kernel's log", ("a",), None, False, "Permission denied")
    record_failure(journal, "wait", BootTimeout("not in time", evidence=(whole,)).diagnostic)
    failure = last_failure(journal)
    assert failure
    assert failure.evidence == (whole,)


def test_strange_evidence_is_no_reason_to_say_nothing(journal: Path) -> None:
    journal.write_text('{"operation": "run", "outcome": "failed", "evidence": [7, {"lines": 8}], "help": 9}\n')
    failure = last_failure(journal)
    assert failure
    assert (failure.help, failure.evidence) == ((), (Evidence("None", "None"),))


_T1, _T2 = "2026-01-02T03:04:05.000+00:00", "2026-01-02T04:00:00.000+00:00"


def _incidents(journal: Path) -> list[tuple[str, str]]:
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return [(entry["code"].rpartition("::")[2], entry["time"]) for entry in entries if entry["operation"] == INCIDENT]


def test_an_incident_is_noted_once_with_its_own_time_however_often_it_is_seen(journal: Path) -> None:
    record_success(journal, "start")
    for time in (_T1, _T1, _T2):
        record_incident(journal, Incident(time, GuestPanicked("panicked", help=("look",))))
    assert _incidents(journal) == [("panicked", _T1)]
    failure = last_failure(journal)
    assert failure == as_failure(Incident(_T1, GuestPanicked("panicked", help=("look",))))


def test_an_incident_counts_until_the_vm_is_started_again(journal: Path) -> None:
    record_success(journal, "start")
    record_incident(journal, Incident(_T1, GuestPanicked("panicked")))
    record_begun(journal, "stop")
    record_success(journal, "stop")
    assert _last(journal) == (INCIDENT, "panicked")
    record_success(journal, "start")
    assert _last(journal) is None
    record_incident(journal, Incident(_T2, GuestPanicked("panicked")))
    assert _incidents(journal) == [("panicked", _T1), ("panicked", _T2)]


def test_a_guest_that_was_let_go_on_and_is_stopped_by_its_disk_again_is_noted_again(journal: Path) -> None:
    record_success(journal, "start")
    record_incident(journal, Incident(_T1, QemuIoError("full")))
    record_success(journal, "resume")
    assert _last(journal) is None
    record_incident(journal, Incident(_T2, QemuIoError("full")))
    assert _incidents(journal) == [("io_error", _T1), ("io_error", _T2)]


def test_what_the_command_that_waited_has_told_is_not_told_again(journal: Path) -> None:
    record_success(journal, "start")
    record_failure(journal, "wait", QemuExited("QEMU was killed by SIGKILL").diagnostic)
    assert is_end_explained(journal)
    record_incident(journal, Incident(_T1, QemuExited("QEMU vanished")))
    assert _incidents(journal) == []


@pytest.mark.parametrize(
    ("entries", "explained"),
    [
        ((), True),
        (("start ok",), False),
        (("start ok", "wait failed"), False),
        (("start ok", "stop begun"), True),
        (("start ok", "stop begun", "stop failed"), True),
        (("start ok", "stop begun", "stop ok"), True),
        (("start ok", "stop begun", "stop ok", "start failed"), True),
        (("start ok", "stop ok", "start ok", "wait ok"), False),
        (("start ok", "suspend ok", "restore begun", "resume failed"), True),
        (("start ok", "suspend ok", "restore begun"), True),
        (("start ok", "suspend ok", "restore begun", "resume ok"), False),
        (("start ok", "stop ok", "resume ok"), False),
    ],
)
def test_an_end_that_was_asked_for_or_follows_no_start_needs_no_words(
    journal: Path, entries: tuple[str, ...], explained: bool
) -> None:
    for entry in entries:
        operation, outcome = entry.split()
        match outcome:
            case "ok":
                record_success(journal, operation)
            case "begun":
                record_begun(journal, operation)
            case "failed":
                _fail(journal, operation)
    assert is_end_explained(journal) is explained


def test_something_begun_is_neither_a_failure_nor_a_success(journal: Path) -> None:
    _fail(journal, "stop")
    record_begun(journal, "stop")
    assert _last(journal) == ("stop", "not in time")
    record_begun(journal, "start")
    assert _last(journal) == ("stop", "not in time")


_NOTE = """
import sys
from pathlib import Path
from vm_manager.diagnostics.errors import GuestPanicked
from vm_manager.domain.instance import Incident
from vm_manager.state.journal import record_incident

sys.stdin.readline()
record_incident(Path(sys.argv[1]), Incident("2026", GuestPanicked("panicked")))
"""


def test_of_many_that_see_an_incident_at_once_one_writes_it_down(journal: Path) -> None:
    record_success(journal, "start")
    command = [sys.executable, "-c", _NOTE, str(journal)]
    lookers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(6)]
    for looker in lookers:
        assert looker.stdin
        looker.stdin.write("go\n")
        looker.stdin.close()
    assert [looker.wait(120) for looker in lookers] == [0] * 6
    assert _incidents(journal) == [("panicked", "2026")]


_APPEND = """
import sys
from pathlib import Path
from vm_manager.state.journal import record_success

for _ in range(300):
    record_success(Path(sys.argv[1]), sys.argv[2])
"""


def test_two_processes_append_without_a_lock_and_lose_nothing(journal: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _APPEND, str(journal), name * 500]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    operations = [json.loads(line)["operation"] for line in journal.read_text().splitlines()]
    assert sorted(operations) == ["a" * 500] * 300 + ["b" * 500] * 300
