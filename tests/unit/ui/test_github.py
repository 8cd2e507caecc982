"""Diagnostics in a workflow of GitHub's: annotations of ours, and nothing that anybody else says is a command."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from unit.findings import VMFILE, diagnostics, full, labelled
from vm_manager.diagnostics.errors import Partial, VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import Cause, Diagnostic, Evidence, Label, Severity, Subject
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.events import Event, GuestOutput, StepFinished, StepStarted, Stream, Warned
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.ui.display import PlainDisplay
from vm_manager.ui.github import github_lines
from vm_manager.ui.logs import show_logs
from vm_manager.ui.terminal import Terminal

_GITHUB = Terminal(error_format="github")


@dataclass
class _Runner:
    """Reads a log as GitHub's runner does. Source: actions/runner, ActionCommand.TryParseV2 and TryParse."""

    commands: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    stopped_by: list[str] = field(default_factory=list)
    _token: str | None = None

    def read(self, log: str) -> _Runner:
        # .NET's ReadLine ends a line at CR, too.
        for line in re.split("\r\n|\r|\n", log):
            self._line(line)
        assert self._token is None, "commands are still switched off at the end"
        return self

    def _line(self, line: str) -> None:
        command = self._second_form(line) or self._first_form(line)
        if command is None:
            return
        if self._token is not None:
            self._token = None if command[0] == self._token else self._token
        elif command[0] == "stop-commands":
            self._token = command[2]
            self.stopped_by.append(command[2])
        else:
            self.commands.append(command)

    def _second_form(self, line: str) -> tuple[str, dict[str, str], str] | None:
        found = re.match(r"\s*::(.*?)::(.*)", line)
        if found is None:
            return None
        name, _, listed = found[1].partition(" ")
        pairs = [pair.partition("=") for pair in listed.split(",") if pair]
        return name, {key.strip(): _unescaped(value) for key, _, value in pairs}, _unescaped(found[2])

    def _first_form(self, line: str) -> tuple[str, dict[str, str], str] | None:
        found = re.search(r"##\[(.*?)\](.*)", line)
        return (found[1], {}, found[2]) if found else None


def _unescaped(text: str) -> str:
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def _read(lines: Iterable[str]) -> _Runner:
    return _Runner().read("\n".join(lines))


def _at(name: str) -> Diagnostic:
    return VmFileInvalid("wrong", help=(), labels=(Label(Source(name, "a\nb"), Span(2, 3), "here"),)).diagnostic


# Annotations


@pytest.mark.parametrize("name", diagnostics())
def test_every_diagnostic_is_one_annotation_and_those_related_to_it_one_each(name: str) -> None:
    diagnostic = diagnostics()[name]
    expected = [diagnostic.code, *(related.code for related in diagnostic.related)]
    assert [properties["title"] for _, properties, _ in _read(github_lines(diagnostic)).commands] == expected


def test_an_annotation_names_file_line_and_column() -> None:
    ((command, properties, text),) = _read(github_lines(labelled())).commands
    assert command == "error"
    assert properties == {
        "title": "vm_manager::vmfile::validation", "file": "VMFile.kdl", "line": "3", "col": "2", "endColumn": "6"
    }  # fmt: skip
    assert text == "unknown `vcpu` in a vm block — did you mean `vcpus`?"


def test_a_label_over_several_lines_has_no_end_column() -> None:
    label = Label(VMFILE, Span(0, len(VMFILE.text)), "all of it")
    ((_, properties, _),) = _read(github_lines(VmFileInvalid("wrong", labels=(label,)).diagnostic)).commands
    assert properties == {"title": "vm_manager::vmfile::validation", "file": "VMFile.kdl", "line": "1", "col": "1"}


@pytest.mark.parametrize(
    ("severity", "command"), [(Severity.ERROR, "error"), (Severity.WARNING, "warning"), (Severity.ADVICE, "notice")]
)
def test_the_command_is_as_grave_as_the_diagnostic(severity: Severity, command: str) -> None:
    ((name, _, _),) = _read(github_lines(replace(labelled(), severity=severity))).commands
    assert name == command


@pytest.mark.parametrize(
    "text", ["100 %", "%0A", "%25", "a, b=c, d", "a: b::c::", "::error::", "title=x,file=y", "C:\\x", "日本", "a;b%3B"]
)
def test_what_is_said_arrives_as_it_was(text: str) -> None:
    lines = github_lines(VmNotFound("say {text}", {"text": text}, help=()).diagnostic)
    assert _read(lines).commands[0][2] == f"say {text}"
    _, properties, _ = _read(github_lines(_at(text))).commands[0]
    assert (properties["file"], properties["line"], properties["col"]) == (text, "2", "1")
    assert set(properties) == {"title", "file", "line", "col", "endColumn"}


def test_the_plain_form_follows() -> None:
    lines = list(github_lines(labelled()))
    assert "error[vm_manager::vmfile::validation]: unknown `vcpu` in a vm block" in lines
    assert lines[-2] == "  = help: did you mean `vcpus`?"


# What others say

_HOSTILE = (
    "::error::x",
    "  \t::warning file=a::x",
    "a\n::error::x",
    "a\r::error::x",
    "a\r\n::error::x",
    "\x1b[0m::error::x",
    "\x00::error::x",
    "\x85::error::x",
    "\u2028::error::x",
    "%0A::error::x",
    "##[error]x",
    "##[group]x",
    "####[error]x",
    "a ##[add-mask]x",
    "#\x1b[0m#[error]x",
    "#\x00#[error]x",
    "::stop-commands::",
    "::stop-commands::0",
    "::::",
    "::0::",
)


def _saying(text: str) -> Diagnostic:
    """A diagnostic that says it wherever there is a place for it."""
    label = Label(Source(text, f"{text}\nb"), Span(0, 1), text)
    return replace(
        VmNotFound(
            "{text}", {"text": text}, help=(text, text), notes=(text,), labels=(label,), operation=text,
            evidence=(Evidence("console", text, (text,), text, error=text),), subject=Subject(vm=text),
        ).diagnostic,
        causes=(Cause(text, text), Cause("OSError", text, "vm_manager::io")),
    )  # fmt: skip


@pytest.mark.parametrize("text", _HOSTILE)
def test_nothing_that_anybody_says_is_a_command(text: str) -> None:
    saying = _saying(text)
    both = replace(Partial("two", related=(saying, saying)).diagnostic, notes=(text,))
    for diagnostic, number in ((saying, 1), (both, 3)):
        assert [name for name, _, _ in _read(github_lines(diagnostic)).commands] == ["error"] * number


@pytest.mark.parametrize("text", _HOSTILE)
def test_what_stands_where_commands_are_switched_off_has_none_of_the_older_form_and_drives_nothing(text: str) -> None:
    lines = list(github_lines(_saying(text)))
    assert [line.partition(" ")[0][:17] for line in lines[:2]] == ["::error", "::stop-commands::"]
    assert not any("##[" in line for line in lines[1:])
    assert not any(set(line) & set("\r\n\x1b\x00\x85") for line in lines)


def test_commands_are_switched_off_by_a_token_that_nobody_can_guess_and_on_again() -> None:
    tokens = [token for _ in range(20) for token in _read(github_lines(full())).stopped_by]
    assert len(set(tokens)) == 20
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
    lines = list(github_lines(full()))
    assert lines[-1] == f"::{_read(lines).stopped_by[0]}::"


def test_what_stands_between_stop_and_go_is_the_whole_of_the_plain_form() -> None:
    lines = list(github_lines(full()))
    stop = next(number for number, line in enumerate(lines) if line.startswith("::stop-commands::"))
    assert all(line.startswith("::error ") for line in lines[:stop])
    assert lines[stop + 1].startswith("error[vm_manager::cloudinit::iso_failed]")


# The display and the logs


def _displayed(capsys: pytest.CaptureFixture[str], *events: Event) -> _Runner:
    with PlainDisplay(_GITHUB) as display:
        for event in events:
            display(event)
    return _Runner().read(capsys.readouterr().err)


@pytest.mark.parametrize("text", _HOSTILE)
def test_a_guest_cannot_give_commands(capsys: pytest.CaptureFixture[str], text: str) -> None:
    for end in ("\n", ""):
        said = [GuestOutput("web", stream, part) for stream in (Stream.STDOUT, Stream.STDERR) for part in (text, end)]
        in_pieces = [GuestOutput("web", Stream.STDOUT, character) for character in text + end]
        assert _displayed(capsys, *said, *in_pieces).commands == []


def test_what_a_guest_says_is_still_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay(_GITHUB) as display:
        display(GuestOutput("web", Stream.STDOUT, "##[error]::error::x\nplain\n"))
    assert capsys.readouterr().err == "web | ## [error]::error::x\nweb | plain\n"


def test_a_warning_while_it_works_is_an_annotation(capsys: pytest.CaptureFixture[str]) -> None:
    warned = Warned("web", VmNotFound("gone").as_warning())
    assert [name for name, _, _ in _displayed(capsys, warned).commands] == ["warning"]


def _started(title: str) -> StepStarted:
    return StepStarted("web", "provision", Done(Action.PROVISION, step=1, steps=1, title=title))


@pytest.mark.parametrize("text", [text for text in _HOSTILE if "#\x1b" not in text and "#\x00" not in text])
def test_the_title_of_a_step_is_no_command(capsys: pytest.CaptureFixture[str], text: str) -> None:
    events = _started(text), StepFinished("web", "provision", Done(Action.NOTHING, text), 1.0)
    assert _displayed(capsys, *events).commands == []


@pytest.mark.parametrize("text", ["#\x1b[0m#[error]x", "#\x00#[error]x"])
def test_control_characters_do_not_hide_a_command(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert _displayed(capsys, _started(text)).commands == []


@pytest.mark.parametrize("text", ["::error::x", "a\n::error::x", "a\r::error::x"])
def test_a_log_record_begins_no_line_with_a_command(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert _logged(capsys, text).commands == []


@pytest.mark.parametrize("text", ["##[error]x", "a\n##[group]x"])
def test_a_log_record_holds_no_command_of_the_older_form(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert _logged(capsys, text).commands == []


def _logged(capsys: pytest.CaptureFixture[str], text: str) -> _Runner:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        show_logs(1, _GITHUB)
        logging.getLogger("vm_manager.test").info("%s", text)
    finally:
        root.handlers[:], root.level = before
    return _Runner().read(capsys.readouterr().err)


# The way of last resort


class _Broken(Source):
    """A source whose positions cannot be told."""

    def position(self, offset: int) -> tuple[int, int]:
        raise RuntimeError("a defect in the renderer")


def _undrawable(message: str) -> Diagnostic:
    return VmFileInvalid(message, help=("do it right",), labels=(Label(_Broken("f", "a"), Span(0, 1), "b"),)).diagnostic


@pytest.mark.parametrize("error_format", ["fancy", "plain", "github"])
def test_a_renderer_that_fails_hides_nothing(capsys: pytest.CaptureFixture[str], error_format: str) -> None:
    Terminal(error_format=error_format).show(_undrawable("something is wrong"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3:] == [
        "error[vm_manager::vmfile::validation]: something is wrong",
        "  = help: do it right",
        "(not drawn: RuntimeError)",
    ]


def test_the_way_of_last_resort_gives_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    _GITHUB.show(_undrawable("##[error]x"))
    assert _Runner().read(capsys.readouterr().err).commands == []
