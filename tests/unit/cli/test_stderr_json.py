"""`vmctl --error-format json` as a process: whatever happens, every line of standard error is one that programs can read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from driver import Result, Vmctl
from unit.stderr_lines import objects

_TWO = 'vm "web" { image "disk.img" }\nvm "db" { image "disk.img"; memory 64 }\n'
_JSON = ("--backend", "noop", "--error-format", "json")


@dataclass(frozen=True)
class _Standing:
    """A project whose two VMs run, and what was told when they were made."""

    project: Path
    data: Path
    up: Result


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> _Standing:
    """Made once: a process each would be most of the time that these tests take."""
    root = tmp_path_factory.mktemp("standing")
    project = root / "project"
    project.mkdir()
    (project / "disk.img").write_bytes(b"\0" * 512)
    driver = Vmctl(project, root / "data")
    driver.write(_TWO)
    return _Standing(project, root / "data", driver(*_JSON, "-vv", "up"))


@pytest.fixture
def vmctl(standing: _Standing, tmp_path: Path) -> Vmctl:
    """The project with a copy of its VMs; files of a test's own are named differently."""
    shutil.copytree(standing.data, tmp_path / "data", symlinks=True)
    return Vmctl(standing.project, tmp_path / "data")


def _run(vmctl: Vmctl, *args: str, status: int = 0, **env: str) -> tuple[list[Any], Result]:
    result = vmctl(*_JSON, *args, status=status, env=env)
    return objects(result.stderr), result


def _codes(lines: list[Any]) -> list[str]:
    return [line["code"] for line in lines if line["$type"] == "diagnostic"]


def test_a_life_is_events_on_standard_error_and_results_on_standard_output(standing: _Standing, vmctl: Vmctl) -> None:
    lines, up = objects(standing.up.stderr), standing.up
    assert up.stdout == "web: created, started\ndb: created, started\n"
    told = [(line["event"], line["step"]) for line in lines if line["vm"] == "web"]
    assert told == [(event, step) for step in ("create", "start") for event in ("step_started", "step_finished")]
    lines, shown = _run(vmctl, "status", "web", "--json")
    assert (lines, shown.json["vm"]["state"]) == ([], "running")
    lines, down = _run(vmctl, "down", "--destroy")
    assert {line["$type"] for line in lines} == {"event"}
    assert down.stdout == "web: destroyed\ndb: destroyed\n"


@pytest.mark.parametrize(
    ("args", "status", "code"),
    [
        (["nosuch"], 2, "vmctl::usage"),
        (["status"], 2, "vmctl::usage"),
        (["down", "--timeout", "soon"], 2, "vmctl::usage"),
        (["up", "--file", "missing.kdl"], 3, "vm_manager::vmfile::not_found"),
        (["status", "wbe"], 4, "vm_manager::vm::not_found"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_line(vmctl: Vmctl, args: list[str], status: int, code: str) -> None:
    lines, result = _run(vmctl, *args, status=status)
    assert [(line["code"], line["exit_code"]) for line in lines] == [(code, status)]
    assert result.stdout == ""


def test_a_vmfile_with_several_problems_is_one_line_with_all_of_them(vmctl: Vmctl) -> None:
    vmctl.write('vm "web" {\n    image "disk.img"\n    vcpu 2\n    memory 1\n    network "usr"\n}\n', "wrong.kdl")
    (line,), result = _run(vmctl, "up", "--file", "wrong.kdl", status=3)
    problems = [line, *line["related"]]
    assert [problem["labels"][0]["line"] for problem in problems] == [3, 4, 5]
    assert [edit["text"] for problem in problems for each in problem["suggestions"] for edit in each["edits"]] == [
        "vcpus",
        '"user"',
    ]
    assert result.stdout == ""


def test_the_vm_of_another_vmfile_is_refused_in_one_line(vmctl: Vmctl) -> None:
    vmctl.write('vm "web" { image "disk.img" }\n', "other.kdl")
    lines, result = _run(vmctl, "down", "--file", "other.kdl", status=5)
    assert _codes(lines) == ["vm_manager::vm::foreign"]
    assert result.stdout == ""


def test_a_corrupt_record_is_a_warning_in_the_list_and_a_failure_elsewhere(vmctl: Vmctl) -> None:
    (vmctl.home("db") / "vm.json").write_bytes(b'{"name": "\xff')
    lines, listed = _run(vmctl, "list")
    assert [(line["severity"], line["code"]) for line in lines] == [("warning", "vm_manager::state::corrupt")]
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "web"]
    lines, shown = _run(vmctl, "status", "db", "--json", status=14)
    assert [line["severity"] for line in lines] == ["error"]
    assert shown.json["diagnostics"][0]["code"] == lines[0]["code"]


def test_the_failures_of_several_vms_are_told_one_by_one_and_then_together(vmctl: Vmctl) -> None:
    _run(vmctl, "down")
    for name in ("web", "db"):
        (vmctl.home(name) / "machine").mkdir()
    lines, result = _run(vmctl, "up", status=14)
    failed = [line for line in lines if line["$type"] == "event" and line["event"] == "step_failed"]
    assert {(line["vm"], line["diagnostic"]) for line in failed} == {
        ("web", "vm_manager::io"),
        ("db", "vm_manager::io"),
    }
    assert (_codes(lines), lines[-1]["exit_code"]) == (["vmctl::partial"], 14)
    assert {related["subject"]["vm"] for related in lines[-1]["related"]} == {"web", "db"}
    assert result.stdout == "web: failed\ndb: failed\n"


def test_the_format_may_be_named_by_the_environment_and_needs_no_more_than_ascii(vmctl: Vmctl) -> None:
    env = {"VMCTL_ERROR_FORMAT": "json", "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    (line,) = objects(vmctl("status", "näme", status=4, env=env).stderr)
    assert line["args"] == {"name": "näme"}


@pytest.mark.parametrize(
    "args",
    [["nosuch"], ["down", "--timeout", "soon"]],
    ids=" ".join,
)
def test_the_format_counts_wherever_it_stands(vmctl: Vmctl, args: list[str]) -> None:
    objects(vmctl(*args, "--error-format", "json", status=2).stderr)


def test_a_vmfile_above_is_named_in_json_too(vmctl: Vmctl) -> None:
    deep = vmctl.directory / "deep"
    deep.mkdir()
    lines, _ = _run(Vmctl(deep, vmctl.data), "up", "web")
    assert any(str(vmctl.directory / "VMFile.kdl") in json.dumps(line) for line in lines)


# A command that does what none of ours does with the noop backend is added to the real command line.

_WITH_COMMAND = """
import logging
from vm_manager.cli.main import app, main
from vm_manager.cli.settings import VmctlCommand

@app.command("talk", cls=VmctlCommand)
def talk() -> None:
    log = logging.getLogger("vm_manager.odd")
    log.debug("detail %s", "\\x1b[31m")
    log.info("$ ssh web 'echo \\"hi\\"'\\nsecond line ##[error]")
    log.warning("https://me:secret@example.org")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("oh")
    print("done")

@app.command("crash", cls=VmctlCommand)
def crash() -> None:
    raise TypeError("a\\nbug \\x1b[31m")

main()
"""


def _odd(*args: str, status: int) -> tuple[list[Any], str]:
    done = subprocess.run(
        [sys.executable, "-c", _WITH_COMMAND, *_JSON, *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    return objects(done.stderr), done.stdout


def test_a_bug_is_one_line() -> None:
    lines, stdout = _odd("crash", status=70)
    assert (_codes(lines), lines[0]["kind"], stdout) == (["vmctl::bug"], "bug", "")
    assert list((Path(os.environ["XDG_DATA_HOME"]) / "vmctl" / "crashes").iterdir()) != []


def test_log_records_are_lines_without_secrets() -> None:
    lines, stdout = _odd("-vv", "talk", status=0)
    assert [line["level"] for line in lines] == ["debug", "info", "warning", "error"]
    assert {(line["$type"], line["logger"]) for line in lines} == {("log", "vm_manager.odd")}
    assert "https://…@example.org" in lines[2]["message"]
    assert "Traceback" in lines[3]["message"]
    assert stdout == "done\n"


def test_a_log_record_is_its_message_and_no_more() -> None:
    lines, _ = _odd("-v", "talk", status=0)
    assert lines[1]["message"] == "https://…@example.org"
