"""The value that a failure is: frozen to the bottom, hashable, and with a message of one line."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vm_manager.diagnostics.errors import VmError, VmNotFound
from vm_manager.diagnostics.frozen import FrozenArgs
from vm_manager.diagnostics.model import Applicability, Diagnostic, Edit, Evidence, Label, Subject, Suggestion
from vm_manager.diagnostics.spans import Source, Span


def _full() -> Diagnostic:
    source = Source("VMFile.kdl", 'vm "wbe"\nvm "db"\n')
    error = VmNotFound(
        "no VM is named '{name}'",
        {"name": "wbe", "count": 2},
        notes=("a note",),
        labels=(Label(source, Span(3, 8), "here"),),
        suggestions=(
            Suggestion("rename it", (Edit(source, Span(3, 8), '"web"'),), ("vmctl", "list"), Applicability.MAYBE),
        ),
        related=(VmNotFound("{name} neither", {"name": "db"}).diagnostic,),
        evidence=(Evidence("probe", "what was seen", ("one", "two")),),
        subject=Subject(vm="wbe"),
    )
    error.__cause__ = KeyError("wbe")
    return error.diagnostic


def test_equal_diagnostics_are_one_in_a_set() -> None:
    assert len({_full(), _full(), replace(_full(), notes=())}) == 2


@pytest.mark.parametrize(
    "again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
def test_a_copy_is_equal_and_has_the_same_hash(again: Callable[[Diagnostic], Diagnostic]) -> None:
    assert again(_full()) == _full()
    assert hash(again(_full())) == hash(_full())


def test_the_arguments_cannot_be_changed() -> None:
    args: Any = _full().args
    with pytest.raises(TypeError):
        args["name"] = "web"
    with pytest.raises(AttributeError):
        args.clear()
    assert args == {"name": "wbe", "count": 2}


def test_the_arguments_are_their_own_and_not_the_callers() -> None:
    given: dict[str, str | int] = {"name": "web"}
    diagnostic = VmNotFound("no VM is named '{name}'", given).diagnostic
    given["name"] = "db"
    assert diagnostic.args == {"name": "web"}


def test_lists_that_are_given_are_kept_as_tuples() -> None:
    lists: Any = {"help": ["look behind you"], "notes": ["one"], "evidence": [], "labels": [], "related": []}
    diagnostic = VmNotFound("gone", **lists).diagnostic
    assert (diagnostic.help, diagnostic.notes, diagnostic.evidence) == (("look behind you",), ("one",), ())
    assert hash(diagnostic) == hash(VmNotFound("gone", help=("look behind you",), notes=("one",)).diagnostic)


def test_a_suggestion_keeps_what_it_is_given_as_tuples() -> None:
    argv: Any = ["vmctl", "list"]
    edits: Any = []
    assert Suggestion("look", edits, argv) == Suggestion("look", (), ("vmctl", "list"))
    assert hash(Suggestion("look", edits, argv)) == hash(Suggestion("look", (), ("vmctl", "list")))


@pytest.mark.parametrize("name", ["help", "notes"])
def test_a_text_where_several_are_expected_is_one_and_not_its_letters(name: str) -> None:
    details: Any = {name: "look behind you"}
    assert getattr(VmNotFound("gone", **details).diagnostic, name) == ("look behind you",)


def test_a_mapping_that_is_frozen_is_like_any_other() -> None:
    args = FrozenArgs({"a": 1, "b": "x"})
    assert (args["b"], list(args), len(args), {**args}) == ("x", ["a", "b"], 2, {"a": 1, "b": "x"})
    assert args == FrozenArgs({"b": "x", "a": 1})
    assert hash(args) == hash(FrozenArgs({"b": "x", "a": 1}))
    assert args != {"a": 1}
    assert repr(args) == "{'a': 1, 'b': 'x'}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("one\ntwo", "one two"),
        ("one\r\n  two\n", "one two"),
        ("one\x0b\x85two\u2028three\u2029four", "one two three four"),
        ("two  blanks\tand a tab stay ", "two  blanks\tand a tab stay "),
        ("a colour\x1b[31m and a bell\x07", "a colour and a bell"),
        ("\n", ""),
    ],
)
def test_a_message_is_one_line_that_drives_no_terminal(given: str, message: str) -> None:
    error = VmNotFound("{text}", {"text": given})
    assert error.diagnostic.message == str(error) == message
    assert replace(error.diagnostic, message=given).message == message


def test_the_arguments_of_a_message_are_kept_as_they_were() -> None:
    assert VmNotFound("{text}", {"text": "one\ntwo"}).diagnostic.args == {"text": "one\ntwo"}


def test_a_failure_that_is_unpickled_says_the_same() -> None:
    error: VmError = pickle.loads(pickle.dumps(VmNotFound("{text}", {"text": "one\ntwo"})))
    assert str(error) == "one two"
