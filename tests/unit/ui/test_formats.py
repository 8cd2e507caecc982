"""Which way standard error goes."""

from __future__ import annotations

import os
import pty
from contextlib import redirect_stderr

import pytest

from vm_manager.ui.formats import ErrorFormat, choose_format


def _on_terminal(color: str, environment: dict[str, str]) -> ErrorFormat:
    """The choice when standard error is a terminal."""
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w") as stream, redirect_stderr(stream):
            return choose_format("", color, environment)
    finally:
        os.close(ours)


@pytest.mark.parametrize("wanted", list(ErrorFormat))
def test_the_option_wins_over_everything(wanted: str) -> None:
    environment = {"VMCTL_ERROR_FORMAT": "plain", "GITHUB_ACTIONS": "true", "TERM": "dumb"}
    assert choose_format(wanted, "always", environment).value == wanted


@pytest.mark.parametrize("wanted", list(ErrorFormat))
def test_without_the_option_the_environment_counts(wanted: str) -> None:
    environment = {"VMCTL_ERROR_FORMAT": wanted, "GITHUB_ACTIONS": "true", "TERM": "dumb"}
    assert choose_format("", "always", environment).value == wanted


@pytest.mark.parametrize("unknown", ["", "xml", "JSON", "ErrorFormat.JSON"])
def test_an_unknown_word_in_the_environment_counts_as_none(unknown: str) -> None:
    assert choose_format("", "auto", {"VMCTL_ERROR_FORMAT": unknown}) is ErrorFormat.PLAIN
    assert choose_format("", "auto", {"VMCTL_ERROR_FORMAT": unknown, "GITHUB_ACTIONS": "true"}) is ErrorFormat.GITHUB


@pytest.mark.parametrize(("value", "chosen"), [("true", "github"), ("false", "plain"), ("1", "plain"), ("", "plain")])
def test_a_workflow_of_githubs_is_known_by_its_variable(value: str, chosen: str) -> None:
    assert choose_format("", "auto", {"GITHUB_ACTIONS": value}).value == chosen


def test_on_a_terminal_it_is_drawn() -> None:
    assert _on_terminal("auto", {"TERM": "xterm"}) is ErrorFormat.FANCY
    assert _on_terminal("never", {"TERM": "xterm"}) is ErrorFormat.FANCY
    assert _on_terminal("auto", {"TERM": "xterm", "NO_COLOR": "1"}) is ErrorFormat.FANCY


def test_a_terminal_that_can_do_nothing_gets_plain_text() -> None:
    assert _on_terminal("auto", {"TERM": "dumb"}) is ErrorFormat.PLAIN


def test_a_terminal_in_a_workflow_is_the_workflows() -> None:
    assert _on_terminal("auto", {"TERM": "xterm", "GITHUB_ACTIONS": "true"}) is ErrorFormat.GITHUB


@pytest.mark.parametrize(("color", "chosen"), [("auto", "plain"), ("never", "plain"), ("always", "fancy")])
def test_what_is_no_terminal_gets_plain_text_unless_colours_are_demanded(color: str, chosen: str) -> None:
    assert choose_format("", color, {"TERM": "xterm"}).value == chosen
