"""Suggestions are meant for programs: an edit that is applied makes its problem go away."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Applicability, Diagnostic, Edit
from vm_manager.ui.documents import diagnostic_item
from vm_manager.vmfile.load import load

_RIGHT = """\
vm "web" {
    // ünïcödé 日本 🙂
    image "disk.img"
    vcpus 2
    memory 64
    network "user"
    accel "tcg"
    boot-timeout 60
    ssh {
        user "debian"
    }
    provision "shell" {
        inline "true"
    }
}
"""


def _problems(directory: Path, text: str) -> tuple[Diagnostic, ...]:
    (directory / "disk.img").write_bytes(b"\0" * 512)
    path = directory / "VMFile.kdl"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        load(path, directory=directory)
    except VmFileError as error:
        return (error.diagnostic, *error.diagnostic.related)
    return ()


def _edits(problem: Diagnostic) -> list[Edit]:
    return [edit for suggestion in problem.suggestions for edit in suggestion.edits]


def _applied(text: str, edits: list[Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: -edit.span.start):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def test_the_file_is_right_before_it_is_broken(tmp_path: Path) -> None:
    assert _problems(tmp_path, _RIGHT) == ()


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("vcpus", "vcpu"), ("memory", "memroy"), ('"user"\n    accel', '"usr"\n    accel'), ('"tcg"', '"tgc"'),
        ("boot-timeout", "boot-timout"), ("provision ", "provison "), ('"shell"', '"shel"'), ("inline", "inlin"),
        ("image", "imgae"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_edit_makes_the_problem_go_away(tmp_path: Path, word: str, wrong: str, end: str) -> None:
    right = _RIGHT.replace("\n", end)
    broken = right.replace(word.replace("\n", end), wrong.replace("\n", end), 1)
    assert broken != right
    edits = [edit for problem in _problems(tmp_path, broken) for edit in _edits(problem)]
    assert len(edits) == 1
    assert _applied(broken, edits) == right
    assert _problems(tmp_path, _applied(broken, edits)) == ()


def test_several_edits_may_be_applied_at_once(tmp_path: Path) -> None:
    broken = _RIGHT.replace("vcpus", "vcpu").replace("memory", "memroy").replace('"tcg"', '"tgc"')
    edits = [edit for problem in _problems(tmp_path, broken) for edit in _edits(problem)]
    assert len(edits) == 3
    assert _applied(broken, edits) == _RIGHT


def test_an_edit_takes_no_more_away_than_what_its_label_marks(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, _RIGHT.replace("vcpus", "vcpu"))
    ((edit,), label) = _edits(problem), problem.labels[0]
    assert (edit.source, edit.span, edit.text) == (label.source, label.span, "vcpus")
    assert problem.suggestions[0].message == problem.help[0] == "did you mean `vcpus`?"


def test_an_edit_is_a_guess_and_says_so(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, _RIGHT.replace("vcpus", "vcpu"))
    assert problem.suggestions[0].applicability is Applicability.MAYBE


def test_an_edit_in_json_has_all_that_applying_it_takes(tmp_path: Path) -> None:
    broken = _RIGHT.replace("vcpus", "vcpu")
    (problem,) = _problems(tmp_path, broken)
    (suggestion,) = problem.suggestions
    assert diagnostic_item(problem)["suggestions"] == [
        {
            "message": suggestion.message,
            "argv": [],
            "applicability": "maybe",
            "edits": [
                {
                    "source": "VMFile.kdl", "text": "vcpus", "line": 4, "column": 5, "end_line": 4, "end_column": 9,
                    "start": broken.index("vcpu"), "end": broken.index("vcpu") + 4,
                }
            ],
        }
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["bananas 2", "vcpus 2\n    vcpus 3", "vcpus 0", "vcpus"])
def test_where_nothing_is_near_nothing_is_suggested(tmp_path: Path, wrong: str) -> None:
    (problem,) = _problems(tmp_path, _RIGHT.replace("vcpus 2", wrong))
    assert problem.suggestions == ()
    assert problem.help != ()
