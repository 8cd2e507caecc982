"""Commands that are imported when they are needed: what the help, the shell and a quick command see and load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.cli.commands import LazyCommand, commands

_VMCTL = str(Path(sys.executable).with_name("vmctl"))
_LOADED = """
import json, sys
from vm_manager.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(json.dumps(sorted(sys.modules)))
"""
# What the command line itself is made of; the other modules in its folder are commands.
_FRAME = {"commands", "crash", "main", "session", "settings"}


def _loaded(*args: str) -> set[str]:
    """The modules that a command line has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *args], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def _command_modules(loaded: set[str]) -> set[str]:
    return {name.removeprefix("vm_manager.cli.") for name in loaded if name.startswith("vm_manager.cli.")} - _FRAME


@pytest.mark.parametrize("command", commands(), ids=lambda command: str(command.name))
def test_the_line_in_the_help_is_the_first_of_the_commands_own_help(command: LazyCommand) -> None:
    assert command.help == command.load().help.splitlines()[0]


@pytest.mark.parametrize("command", commands(), ids=lambda command: str(command.name))
def test_a_command_that_is_loaded_has_the_name_it_was_asked_for_by(command: LazyCommand) -> None:
    assert command.make_context(command.name, ["--help"], resilient_parsing=True).command.name == command.name


def test_the_help_loads_no_command() -> None:
    assert _command_modules(_loaded("--help")) == set()


@pytest.mark.parametrize("args", [["list"], ["list", "--help"], ["explain", "13"]], ids=" ".join)
def test_a_command_loads_no_other(args: list[str]) -> None:
    assert _command_modules(_loaded(*args)) == {args[0]}


def _completions(*words: str) -> list[str]:
    """What bash offers for the last word."""
    environment = {
        **os.environ,
        "_VMCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("vmctl", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([_VMCTL], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands() -> None:
    assert _completions("d") == ["down", "destroy"]


def test_the_shell_completes_the_options_of_a_command() -> None:
    assert _completions("up", "--no") == ["--no-provision"]


def test_the_shell_completes_names_of_vms(tmp_path: Path) -> None:
    (tmp_path / "disk").touch()
    (tmp_path / "VMFile.kdl").write_text('vm "web" { image "disk" }\nvm "db" { image "disk" }\n')
    subprocess.run([_VMCTL, "--backend", "noop", "up"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert _completions("status", "w") == ["web"]
