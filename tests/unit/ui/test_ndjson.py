"""Standard error for programs, and the schema that is published for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from unit.findings import diagnostics, events, full
from unit.stderr_lines import faults, objects, schema
from vm_manager.diagnostics.errors import VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import Applicability, Diagnostic, Fault, Kind, Label, Severity
from vm_manager.diagnostics.registry import CODES
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain import events as events_module
from vm_manager.domain.events import (
    Event,
    GuestOutput,
    Noticed,
    PhaseReached,
    Progressed,
    StepFailed,
    StepFinished,
    StepStarted,
    Stream,
    Warned,
)
from vm_manager.ui.display import JsonDisplay
from vm_manager.ui.ndjson import diagnostic_line, event_line, log_line
from vm_manager.ui.terminal import Terminal

_NAMES: dict[type[Event], str] = {
    StepStarted: "step_started",
    StepFinished: "step_finished",
    StepFailed: "step_failed",
    PhaseReached: "phase_reached",
    Progressed: "progressed",
    GuestOutput: "guest_output",
    Noticed: "noticed",
}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _lines() -> list[str]:
    """A line of every kind."""
    return [
        *map(diagnostic_line, diagnostics().values()),
        *map(event_line, events()),
        *(log_line(level, "vm_manager.host", "$ qemu-img info\n\x1b[31m") for level in _LEVELS),
    ]


def _fields(event: type[Event]) -> set[str]:
    """As they are called in a line, where what is being done is worded."""
    return {"title" if field.name == "doing" else field.name for field in fields(event)}


def _definition(name: str) -> Any:
    return schema()["$defs"][name]


# The schema is right


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_every_event_is_in_the_schema_with_its_fields() -> None:
    assert {*_NAMES, Warned} == set(get_args(events_module.Event))
    common = set(_definition("event_line")["required"])
    for event, name in _NAMES.items():
        assert set(_definition(name)["required"]) | common == {"$type", "schema", "event"} | _fields(event)


@pytest.mark.parametrize(
    ("definition", "field", "words"),
    [
        ("diagnostic", "severity", Severity),
        ("diagnostic", "kind", Kind),
        ("diagnostic", "fault", Fault),
        ("suggestion", "applicability", Applicability),
        ("guest_output", "stream", Stream),
    ],
)
def test_the_words_of_the_schema_are_those_of_the_code(definition: str, field: str, words: type[Severity]) -> None:
    assert _definition(definition)["properties"][field]["enum"] == [word.value for word in words]


def test_every_field_that_is_described_is_required_and_the_other_way_round() -> None:
    for name, part in schema()["$defs"].items():
        if "required" in part and name not in ("event_line", "diagnostic_line"):
            assert set(part["required"]) == set(part["properties"]), name


def test_every_code_and_every_exit_status_fits_the_schema() -> None:
    code, status = _definition("code"), _definition("diagnostic")["properties"]["exit_code"]
    for entry in CODES.values():
        Draft202012Validator(code).validate(entry.code)
        Draft202012Validator(status).validate(entry.exit_code)


# The lines are right


@pytest.mark.parametrize("line", _lines())
def test_every_line_is_one_that_the_schema_describes(line: str) -> None:
    assert faults(line) == []
    assert len(line.splitlines()) == 1
    assert line.isascii()


def test_a_diagnostic_is_the_same_value_as_in_a_document_and_comes_with_its_plain_form() -> None:
    (line,) = objects(diagnostic_line(full()))
    assert (line["$type"], line["schema"], line["code"]) == ("diagnostic", 1, "vm_manager::cloudinit::iso_failed")
    assert line["rendered"].startswith("error[vm_manager::cloudinit::iso_failed]: the seed")
    assert [each["code"] for each in line["related"][1]["related"]] == ["vm_manager::vm::not_found"]
    assert line["subject"] == {"vm": "web", "id": "1111", "backend": "noop", "connection": "/data"}


@pytest.mark.parametrize("event", [event for event in events() if not isinstance(event, Warned)])
def test_an_event_has_the_name_of_its_class_and_all_its_fields(event: Event) -> None:
    (line,) = objects(event_line(event))
    assert (line.pop("$type"), line.pop("schema"), line.pop("event")) == ("event", 1, _NAMES[type(event)])
    assert set(line) == _fields(type(event))


def test_a_step_that_failed_names_the_code_since_the_whole_of_it_follows() -> None:
    (line,) = objects(event_line(StepFailed("web", "create", full(), 1)))
    assert line["diagnostic"] == "vm_manager::cloudinit::iso_failed"


def test_a_warning_is_a_diagnostic() -> None:
    (line,) = objects(event_line(Warned("web", VmNotFound("gone").as_warning())))
    assert (line["$type"], line["severity"], line["exit_code"]) == ("diagnostic", "warning", 0)


def test_a_warning_says_which_vm_it_concerns() -> None:
    (line,) = objects(event_line(Warned("web", VmNotFound("gone").as_warning())))
    assert line["subject"]["vm"] == "web"


def test_what_a_guest_says_is_kept_as_it_is_but_can_drive_nothing() -> None:
    text = '\x1b[2J"\\\n\x00\x9b日本'
    line = event_line(GuestOutput("web", Stream.STDOUT, text))
    assert objects(line)[0]["text"] == text
    assert line.isascii()
    assert line.isprintable()


def test_a_name_that_is_no_text_is_still_readable_json() -> None:
    json.loads(diagnostic_line(VmNotFound("{n}", {"n": "x\udcff"}).diagnostic))["message"].encode()


def test_the_display_writes_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonDisplay(Terminal(error_format="json")) as display:
        for event in events():
            display(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(objects(captured.err)) == len(events())


# The schema can find fault


def _without(value: Any, path: tuple[str | int, ...]) -> Any:
    copy = json.loads(json.dumps(value))
    owner = copy
    for step in path[:-1]:
        owner = owner[step]
    del owner[path[-1]]
    return copy


def _fields_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all fields, but for those of `args`, which have the names that a message gives them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            if name != "args":
                yield from _fields_of(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield from _fields_of(value[0], (*path, 0))


@pytest.mark.parametrize(
    "line",
    [diagnostic_line(full()), *map(event_line, events()[:6]), log_line("INFO", "a", "b")],
    ids=["full", *(type(event).__name__ for event in events()[:6]), "log"],
)
def test_a_line_that_lacks_any_field_is_refused(line: str) -> None:
    whole = json.loads(line)
    accepted = [path for path in _fields_of(whole) if faults(json.dumps(_without(whole, path))) == []]
    assert accepted == []


@pytest.mark.parametrize(
    "change",
    [
        {"$type": "other"}, {"schema": 2}, {"severity": "fatal"}, {"fault": "nobody"}, {"kind": "x"}, {"exit_code": 256},
        {"number": "1"}, {"code": "Not A Code"}, {"help": "one text"}, {"labels": [{}]}, {"elapsed_s": "1.5"},
        {"elapsed_s": -1}, {"args": {"a": None}}, {"args": {"a": 1.5}}, {"subject": None}, {"retryable": 1},
        {"related": [{"code": "vmctl::bug"}]}, {"causes": [None]}, {"message": None}, {"rendered": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    assert faults(json.dumps({**json.loads(diagnostic_line(full())), **change})) != []


def test_fields_may_be_added() -> None:
    assert faults(json.dumps({**json.loads(diagnostic_line(full())), "later": {"a": 1}})) == []


@pytest.mark.parametrize("line", ["", "error[vmctl::usage]: plain text", "[]", "{}", "null", '{"$type": NaN}'])
def test_what_is_no_such_line_is_refused(line: str) -> None:
    assert faults(line) != []


def test_every_field_of_a_diagnostic_is_there() -> None:
    shown = set(objects(diagnostic_line(full()))[0]) - {"$type", "schema", "rendered"}
    assert shown == {field.name for field in fields(Diagnostic)} | {"domain"}


class _Broken(Source):
    """A source whose positions cannot be told."""

    def position(self, offset: int) -> tuple[int, int]:
        raise RuntimeError("a defect in the renderer")


def test_a_renderer_that_fails_still_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    label = Label(_Broken("f", "a"), Span(0, 1), "b")
    Terminal(error_format="json").show(VmFileInvalid("wrong", labels=(label,)).diagnostic)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert line["code"] == "vm_manager::vmfile::validation"
