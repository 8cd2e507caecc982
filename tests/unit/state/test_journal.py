"""The journal, and the last failure that is derived from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import BootTimeout, VmError
from vm_manager.state.journal import last_failure, record_failure, record_success


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
