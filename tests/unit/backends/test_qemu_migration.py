"""A migration that fails: the machine runs as before."""

from __future__ import annotations

import pytest

from vm_manager.backends.qemu.migration import undoing
from vm_manager.diagnostics.errors import MigrationFailed, QmpCommandFailed, QmpConnectFailed


def _failing(error: Exception) -> None:
    raise error


def test_what_succeeds_is_not_undone() -> None:
    with undoing(lambda: _failing(AssertionError("undone"))):
        pass


def test_what_fails_is_undone_and_fails_as_it_did() -> None:
    undone: list[int] = []
    with pytest.raises(MigrationFailed) as failure, undoing(lambda: undone.append(1)):
        raise MigrationFailed("failed")
    assert undone == [1]
    assert failure.value.diagnostic.notes == ()


def test_a_machine_that_cannot_be_let_run_on_is_a_note_on_the_failure() -> None:
    with pytest.raises(MigrationFailed) as failure, undoing(lambda: _failing(QmpCommandFailed("refused"))):
        raise MigrationFailed("failed")
    assert failure.value.diagnostic.notes == ("could not resume the machine: refused",)


def test_a_monitor_that_is_silent_both_times_is_told_of_once() -> None:
    with pytest.raises(QmpConnectFailed) as failure, undoing(lambda: _failing(QmpConnectFailed("silent"))):
        raise QmpConnectFailed("silent")
    assert failure.value.diagnostic.notes == ()
