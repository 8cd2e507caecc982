"""What Python itself shows of a failure that a program does not catch: what to do next."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from vm_manager import Manager, NewVm, Source, Span, VmError, VmFileInvalid, VmNotFound, raise_for_failure
from vm_manager.diagnostics.model import Label


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    (tmp_path / "disk.img").write_bytes(b"\0" * 512)
    manager = Manager(tmp_path / "data", backend="noop")
    for name in ("web", "db"):
        manager.create(NewVm(name=name, image=tmp_path / "disk.img"))
    return manager


def _shown(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception_only(error)).splitlines()


def _damage(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / "vms" / name / "vm.json").write_bytes(b"{")


_PROGRAM = """
from vm_manager import Manager
Manager("data", backend="noop").status("wbe")
"""


def test_a_program_that_catches_nothing_ends_with_the_help_and_the_code(manager: Manager, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-4:] == [
        "vm_manager.diagnostics.errors.VmNotFound: no VM is named 'wbe'",
        "help: did you mean 'web'?",
        "help: run `vmctl list` to see all VMs",
        "code: vm_manager::vm::not_found",
    ]


def test_a_mistake_in_a_vmfile_is_shown_with_its_place_and_the_others(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "VMFile.kdl").write_text('vm "web" {\n  image "disk.img"\n  vcpu 2\n  memry 3\n}\n')
    with pytest.raises(VmFileInvalid) as caught:
        manager.load(tmp_path / "VMFile.kdl")
    first, at, other, *_ = _shown(caught.value)
    problem = caught.value.diagnostic
    assert first.endswith(f"VmFileInvalid: {problem.message}")
    assert at == f"at: {tmp_path}/VMFile.kdl:3:3: {problem.labels[0].text}"
    assert other == f"also: {problem.related[0].message} ({tmp_path}/VMFile.kdl:4:3)"


def test_the_failure_of_an_outcome_that_is_raised_shows_it_too(manager: Manager, tmp_path: Path) -> None:
    _damage(tmp_path, "web")
    (outcome,) = manager.stop(["web"])
    assert outcome.error is None
    (outcome,) = manager.start(["web"])
    assert outcome.error is not None
    assert _shown(outcome.error)[-1] == "code: vm_manager::state::corrupt"


def test_nothing_is_said_twice_however_many_calls_a_failure_leaves(manager: Manager, tmp_path: Path) -> None:
    _damage(tmp_path, "web")
    with pytest.raises(VmError) as caught:
        raise_for_failure(manager.start(["web"]))
    lines = _shown(caught.value)
    assert sorted(set(lines)) == sorted(lines)
    assert [line for line in lines if line.startswith("help: ")] != []


def test_what_a_program_has_noted_itself_stays() -> None:
    error = VmNotFound("gone")
    error.add_note("while looking for web")
    assert _shown(error.explained())[1:] == [
        "while looking for web",
        f"help: {VmNotFound.entry.help}",
        "code: vm_manager::vm::not_found",
    ]


def test_the_lines_survive_pickle_and_are_the_copys_own() -> None:
    error = VmNotFound("gone").explained()
    again: VmError = pickle.loads(pickle.dumps(error))
    assert _shown(again) == _shown(error)
    again.add_note("more")
    assert _shown(again) != _shown(error)


def test_the_lines_drive_no_terminal() -> None:
    source = Source("VM\x1b]0;title\x07File.kdl", "x\n")
    error = VmFileInvalid(
        "wrong", help=("a\x1b[31mb\nc",), notes=("d\x07",), labels=(Label(source, Span(0, 1), "e\x9b"),)
    )
    assert _shown(error.explained())[1:] == [
        "at: VMFile.kdl:1:1: e",
        "note: d",
        "help: ab c",
        "code: vm_manager::vmfile::validation",
    ]


# raise_for_failure


def test_without_a_failure_it_hands_the_outcomes_on(manager: Manager) -> None:
    outcomes = manager.start(["web", "db"])
    assert raise_for_failure(outcomes) is outcomes
    assert raise_for_failure(outcomes[0]) == (outcomes[0],)
    assert raise_for_failure(()) == ()


def test_one_failure_is_raised_as_it_is(manager: Manager, tmp_path: Path) -> None:
    _damage(tmp_path, "web")
    outcomes = manager.start(["db", "web"])
    with pytest.raises(VmError) as caught:
        raise_for_failure(outcomes)
    assert caught.value is outcomes[1].error is manager.last_error()


def test_several_failures_are_one_with_all_of_them(manager: Manager, tmp_path: Path) -> None:
    _damage(tmp_path, "web")
    _damage(tmp_path, "db")
    outcomes = manager.start(["db", "web"])
    with pytest.raises(VmError) as caught:
        raise_for_failure(outcomes)
    assert [each.subject.vm for each in caught.value.diagnostic.related] == ["db", "web"]
    assert caught.value.diagnostic.subject.connection == str(tmp_path / "data")
    messages = [outcome.error.diagnostic.message for outcome in outcomes if outcome.error]
    assert _shown(caught.value)[:3] == [
        "vm_manager.diagnostics.errors.Partial: 2 of 2 VMs failed",
        f"also: {messages[0]}",
        f"also: {messages[1]}",
    ]
