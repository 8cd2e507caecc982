"""Standard error for programs, with a real guest behind it."""

from __future__ import annotations

import json
import os
from importlib.resources import files

import jsonschema
import pytest

from conftest import TinyGuest
from driver import LIMIT_S, Vmctl

# Commands to a workflow in both forms, and what would drive a terminal: colours, a title, a carriage return.
HOSTILE = (
    r"printf '::error::gotcha\n##[error]gotcha\n'; "
    r"printf '\033[31mred\033[0m\033]0;title\007\r\n%%0A::set-env name=X::y\n'; exit 3"
)


def test_every_line_of_standard_error_is_an_object_of_the_schema(running: Vmctl, tiny: TinyGuest) -> None:
    running.write(tiny.vm(body='provision "shell" { inline "echo out; echo err >&2; exit 3"; }'))
    result = running("up", "-v", "--error-format", "json", status=12)
    schema = json.loads((files("vm_manager.ui") / "schemas" / "stderr.json").read_text())
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema)
    assert {line["$type"] for line in lines} == {"event", "diagnostic", "log"}
    assert lines[-1]["code"] == "vm_manager::provision::failed"
    assert lines[-1]["labels"][0]["line"] == 5
    said = {(line["stream"], line["text"]) for line in lines if line.get("event") == "guest_output"}
    assert {("stdout", "out\n"), ("stderr", "err\n")} <= said


def test_a_guest_cannot_give_commands_to_a_workflow_or_a_terminal(running: Vmctl, tiny: TinyGuest) -> None:
    running.write(tiny.vm(body=f'provision "shell" {{ inline #"{HOSTILE}"#; }}'))
    result = running("up", "--error-format", "github", status=12)
    shown = result.stderr
    assert "gotcha" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "##[" not in shown
    commands = [line for line in shown.splitlines() if line.lstrip().startswith("::")]
    allowed = ("::error ", "::warning ", "::stop-commands::")
    tokens = [line.removeprefix("::stop-commands::") for line in commands if line.startswith("::stop-commands::")]
    assert all(line.startswith(allowed) or line in {f"::{token}::" for token in tokens} for line in commands), commands
    assert any("VMFile.kdl" in line and "line=5" in line for line in commands if line.startswith("::error "))
    assert os.linesep + "::set-env" not in shown


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("up", "--nonsense"),
        ("list", "--json"),
        ("status", "none"),
        ("validate",),
        ("--error-format", "json", "validate"),
        ("--verbose", "up", "--dry-run"),
        ("up", "--backend", "noop"),
        ("destroy", "web"),
    ],
)
def test_what_the_other_tests_run_is_what_users_run(vmctl: Vmctl, words: tuple[str, ...]) -> None:
    """A fork of what has been imported already, and the program."""
    vmctl.write('vm "web" {\n    image "disk.qcow2"\n    memroy 32\n}\n')
    (vmctl.directory / "disk.qcow2").write_bytes(b"disk")
    forked = vmctl(*words, status=None)
    program = vmctl.start(*words)
    stdout, stderr = program.communicate(timeout=LIMIT_S)
    assert (program.returncode, stdout, stderr) == (forked.status, forked.stdout, forked.stderr)
