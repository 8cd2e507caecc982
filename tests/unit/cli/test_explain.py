"""`vmctl explain`: what a code means, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.main import get_command

from vm_manager.cli.main import app
from vm_manager.cli.settings import Settings, current
from vm_manager.diagnostics.errors import Usage
from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES

_Explain = Callable[..., str]


@pytest.fixture(scope="module")
def command_line() -> Any:
    return get_command(app)


@pytest.fixture
def explain(command_line: Any, capsys: pytest.CaptureFixture[str]) -> _Explain:
    """Runs the command in this process; what it says on standard output."""

    def run(*args: str) -> str:
        vars(current).update(vars(Settings()))
        command_line.main(args=["explain", *args], prog_name="vmctl", standalone_mode=False)
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


def _refused(explain: _Explain, *args: str) -> tuple[str, ...]:
    with pytest.raises(Usage) as caught:
        explain(*args)
    return caught.value.diagnostic.message, *caught.value.diagnostic.help


def test_every_code_is_explained_with_meaning_causes_and_help(explain: _Explain) -> None:
    for code, entry in CODES.items():
        lines = explain(code).splitlines()
        assert lines[0] == f"{code}  (number {entry.number}, exit status {entry.exit_code}, since {entry.since})"
        assert lines[2] == entry.meaning
        assert [line.strip() for line in lines if line.startswith("  ")][: len(entry.causes)] == [
            f"{number}. {cause}" for number, cause in enumerate(entry.causes, 1)
        ]
        assert f"What to do: {entry.help}" in lines
        assert entry.causes != ()
        assert ("Example:" in lines) == (example_of(code) is not None)


@pytest.mark.parametrize(
    "wanted", ["vm_manager::vm::not_found", "13", "013", "vm::not_found", "state::corrupt", "corrupt", "vmctl::bug"]
)
def test_a_code_may_be_named_by_its_number_or_its_end(explain: _Explain, wanted: str) -> None:
    codes = {"13", "013", "vm_manager::vm::not_found", "vm::not_found"}
    full = "vm_manager::vm::not_found" if wanted in codes else wanted
    assert explain(wanted).split("  ", 1)[0].endswith(full)


def test_every_end_of_a_code_finds_it_or_says_which_codes_end_so(explain: _Explain) -> None:
    for code in CODES:
        words = code.split("::")
        for start in range(1, len(words)):
            end = "::".join(words[start:])
            ends = [other for other in CODES if other.endswith(f"::{end}")]
            if len(ends) == 1:
                assert explain(end).startswith(f"{code}  ")
            else:
                message, help = _refused(explain, end)
                assert message == f"more than one code ends with '{end}'"
                assert help == f"use one of {', '.join(ends)}"


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("vm::not_fuond", "vm_manager::vm::not_found"),
        ("vm_manager::vm::notfound", "vm_manager::vm::not_found"),
        ("state::lockd", "vm_manager::state::locked"),
        ("corupt", "vm_manager::state::corrupt"),
        ("KVM_UNUSABLE", "vm_manager::host::kvm_unusable"),
        ("vmctl::usag", "vmctl::usage"),
    ],
)
def test_a_typing_mistake_is_noticed(explain: _Explain, wanted: str, meant: str) -> None:
    assert _refused(explain, wanted) == (
        f"no such code: '{wanted}'",
        f"did you mean `{meant}`?",
        "run `vmctl explain --list` to see all codes",
    )


@pytest.mark.parametrize("wanted", ["bananas", "0", "9999", "-1", "", "::", "²"])
def test_what_is_like_no_code_gets_the_list_named(explain: _Explain, wanted: str) -> None:
    message, *help = _refused(explain, "--", wanted)
    assert message == f"no such code: '{wanted}'"
    assert help == ["run `vmctl explain --list` to see all codes"]


@pytest.mark.parametrize("args", [[], ["--list", "13"], ["13", "--list"], ["--json"], ["--list", "--json", "13"]])
def test_it_takes_either_a_code_or_the_list(explain: _Explain, args: list[str]) -> None:
    assert _refused(explain, *args) == (
        "give either a code or --list",
        "for example `vmctl explain vm::not_found`",
    )


def test_the_list_is_all_codes_in_the_order_of_their_numbers(explain: _Explain) -> None:
    head, *rows = [line.split() for line in explain("--list").splitlines()]
    assert head == ["NO", "EXIT", "CODE"]
    assert rows == [[str(entry.number), str(entry.exit_code), entry.code] for entry in CODES.values()]


def _items(text: str) -> Any:
    document = json.loads(text)
    assert set(document) == {"schema", "codes"}
    assert document["schema"] == 1
    return document["codes"]


def test_json_says_the_same(explain: _Explain) -> None:
    (item,) = _items(explain("13", "--json"))
    entry = CODES["vm_manager::vm::not_found"]
    assert replace(entry, causes=tuple(item["causes"])) == entry
    assert {
        name: item[name] for name in ("code", "number", "exit_code", "kind", "fault", "meaning", "help", "since")
    } == {
        name: getattr(entry, name)
        for name in ("code", "number", "exit_code", "kind", "fault", "meaning", "help", "since")
    }
    assert item["example"] == example_of(entry.code)


def test_the_list_in_json_is_all_codes(explain: _Explain) -> None:
    assert [item["code"] for item in _items(explain("--list", "--json"))] == list(CODES)
