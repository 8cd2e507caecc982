"""The exception that every failure is, and the value that rides on it."""

from __future__ import annotations

import copy
import errno
import pickle
from collections.abc import Callable

import pytest

from vm_manager.diagnostics.errors import DiskFull, DownloadFailed, IoFailed, SeedIsoFailed, VmError, VmNotFound
from vm_manager.diagnostics.model import Cause, Evidence, Label, Severity, Subject
from vm_manager.diagnostics.spans import Source, Span

_ROUND_TRIPS: list[Callable[[VmError], VmError]] = [
    lambda error: pickle.loads(pickle.dumps(error)),
    copy.copy,
    copy.deepcopy,
]


def _chained() -> VmError:
    """disk full ← ENOSPC, with a seed on top."""
    try:
        try:
            try:
                raise OSError(errno.ENOSPC, "No space left on device", "/data/seed.iso")
            except OSError as error:
                raise DiskFull("no space left for {path}", {"path": "/data/seed.iso"}) from error
        except DiskFull as error:
            raise SeedIsoFailed("the seed could not be written") from error
    except SeedIsoFailed as error:
        return error


def test_the_message_is_the_template_filled_with_its_arguments() -> None:
    error = VmNotFound("no VM is named '{name}'", {"name": "web"})
    assert str(error) == error.diagnostic.message == "no VM is named 'web'"
    assert error.diagnostic.template == "no VM is named '{name}'"
    assert error.diagnostic.args == {"name": "web"}


def test_braces_in_an_argument_are_left_alone() -> None:
    assert str(VmNotFound("no VM is named '{name}'", {"name": "{x}"})) == "no VM is named '{x}'"


def test_code_number_and_exit_code_are_those_of_the_registry() -> None:
    diagnostic = VmNotFound("gone").diagnostic
    assert (diagnostic.code, diagnostic.number, diagnostic.exit_code) == ("vm_manager::vm::not_found", 13, 4)
    assert diagnostic.domain == "vm_manager::vm"


def test_a_failure_that_knows_no_help_has_the_registrys() -> None:
    assert VmNotFound("gone").diagnostic.help == (VmNotFound.entry.help,)
    assert VmNotFound("gone", help=("look behind you",)).diagnostic.help == ("look behind you",)


def test_an_exit_code_can_be_given() -> None:
    assert VmNotFound("gone", exit_code=9).exit_code == 9


def test_enriching_appends_what_is_a_list_and_replaces_what_is_a_value() -> None:
    source = Source("f", "text")
    error = VmNotFound(
        "gone",
        notes=("one",),
        evidence=(Evidence("probe", "first"),),
        labels=(Label(source, Span(0, 1), "a"),),
        related=(VmNotFound("other").diagnostic,),
        operation="create",
    )
    same = error.enrich(
        notes=("two",),
        evidence=(Evidence("probe", "second"),),
        labels=(Label(source, Span(1, 2), "b"),),
        related=(VmNotFound("third").diagnostic,),
        operation="up",
        subject=Subject(vm="web"),
    )
    assert same is error
    diagnostic = error.diagnostic
    assert diagnostic.notes == ("one", "two")
    assert [evidence.title for evidence in diagnostic.evidence] == ["first", "second"]
    assert [label.text for label in diagnostic.labels] == ["a", "b"]
    assert [related.message for related in diagnostic.related] == ["other", "third"]
    assert (diagnostic.operation, diagnostic.subject.vm) == ("up", "web")


def test_the_causes_are_the_chain_below_with_their_codes_and_error_numbers() -> None:
    assert _chained().diagnostic.causes == (
        Cause("DiskFull", "no space left for /data/seed.iso", "vm_manager::host::disk_full"),
        Cause("OSError", "No space left on device: /data/seed.iso", errno=errno.ENOSPC),
    )


def test_a_failure_raised_from_nothing_has_no_causes() -> None:
    assert VmNotFound("gone").diagnostic.causes == ()


def test_what_is_only_handled_at_the_time_is_no_cause() -> None:
    error = VmNotFound("gone")
    error.__context__ = KeyError("web")
    assert error.diagnostic.causes == ()


@pytest.mark.parametrize("round_trip", _ROUND_TRIPS, ids=["pickle", "copy", "deepcopy"])
def test_nothing_is_lost_on_a_round_trip(round_trip: Callable[[VmError], VmError]) -> None:
    error = _chained().enrich(
        subject=Subject(vm="web"), labels=(Label(Source("f", "a\nb"), Span(2, 3), "here"),), notes=("n",)
    )
    again = round_trip(error)
    assert type(again) is SeedIsoFailed
    assert str(again) == str(error)
    assert again.diagnostic == error.diagnostic
    assert again.diagnostic.causes


def test_a_failure_of_two_rows_survives_pickle() -> None:
    assert isinstance(pickle.loads(pickle.dumps(DownloadFailed("ended early"))), DownloadFailed)


def test_a_copy_that_is_enriched_leaves_the_original_alone() -> None:
    error = VmNotFound("gone")
    copy.copy(error).enrich(notes=("n",))
    assert error.diagnostic.notes == ()


def test_as_a_warning_it_never_changes_the_exit_status() -> None:
    warning = IoFailed("broken", notes=("n",)).as_warning()
    assert (warning.severity, warning.exit_code) == (Severity.WARNING, 0)
    assert (warning.code, warning.notes) == ("vm_manager::io", ("n",))
