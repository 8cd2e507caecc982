"""Commands that are imported when they are needed: what the help, the shell and a quick command see and load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.cli.commands import LazyCommand, commands, image_commands, snapshot_commands
from vm_manager.planning.table import Verb

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
_ALL = (*commands(), *image_commands(), *snapshot_commands())
# What these do does not depend on the state of a VM. `reload` makes a new one.
_IN_ANY_STATE = {"create", "explain", "list", "log", "plan", "port", "reload", "snapshot list", "status", "validate"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A VMFile's directory, with its two VMs made by the noop backend."""
    (tmp_path / "disk").touch()
    (tmp_path / "VMFile.kdl").write_text('vm "web" { image "disk" }\nvm "db" { image "disk" }\n')
    subprocess.run([_VMCTL, "--backend", "noop", "up"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    return tmp_path


def _loaded(*args: str) -> set[str]:
    """The modules that a command line has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *args], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def _command_modules(loaded: set[str]) -> set[str]:
    return {name.removeprefix("vm_manager.cli.") for name in loaded if name.startswith("vm_manager.cli.")} - _FRAME


@pytest.mark.parametrize("command", _ALL, ids=lambda command: str(command.name))
def test_the_line_in_the_help_is_the_first_of_the_commands_own_help(command: LazyCommand) -> None:
    assert command.help == command.load().help.splitlines()[0]


@pytest.mark.parametrize("command", _ALL, ids=lambda command: str(command.name))
def test_a_command_that_is_loaded_has_the_name_it_was_asked_for_by(command: LazyCommand) -> None:
    assert command.make_context(command.name, ["--help"], resilient_parsing=True).command.name == command.name


def test_every_command_is_in_the_table_of_situations_or_works_in_any_state() -> None:
    names = {str(command.name) for command in commands()} | {
        f"snapshot {command.name}" for command in snapshot_commands()
    }
    in_the_table = {verb.partition(" --")[0] for verb in Verb}
    assert names - in_the_table == _IN_ANY_STATE
    assert in_the_table <= names


def test_the_help_loads_no_command() -> None:
    assert _command_modules(_loaded("--help")) == set()


@pytest.mark.parametrize("args", [["list"], ["list", "--help"], ["explain", "13"]], ids=" ".join)
def test_a_command_loads_no_other(args: list[str]) -> None:
    assert _command_modules(_loaded(*args)) == {args[0]}


# What only failures, other commands and VMs that run need.
_NOT_FOR_LISTING = (
    "asyncio",
    "cryptography",
    "ctypes",
    "hashlib",
    "paramiko",
    "pycdlib",
    "qemu",
    "requests",
    "rich",
    "vm_manager.backends.qemu.launch",
    "vm_manager.backends.qemu.monitor",
    "vm_manager.backends.qemu.query",
    "vm_manager.diagnostics.examples",
    "vm_manager.diagnostics.model",
    "vm_manager.diagnostics.redact",
    "vm_manager.diagnostics.registry",
    "vm_manager.domain.events",
    "vm_manager.domain.plan",
    "vm_manager.domain.platform",
    "vm_manager.guest",
    "vm_manager.images",
    "vm_manager.planning",
    "vm_manager.vmfile",
    "yaml",
)


@pytest.mark.parametrize("backend", ["noop", "qemu"])
def test_listing_loads_nothing_that_only_failures_other_commands_and_running_vms_need(
    project: Path, backend: str
) -> None:
    subprocess.run([_VMCTL, "down"], cwd=project, capture_output=True, timeout=60, check=True)
    for record in (Path(os.environ["XDG_DATA_HOME"]) / "vmctl" / "vms").glob("*/vm.json"):
        plain = json.loads(record.read_text())
        section = {"uuid": "00000000-0000-4000-8000-000000000000", "mac": "52:54:00:00:00:01"}
        record.write_text(json.dumps({**plain, "backend": backend, "backend_data": section}))
    loaded = _loaded("list")
    assert f"vm_manager.backends.{backend}.backend" in loaded
    assert [name for name in sorted(loaded) if f"{name}.".startswith(tuple(f"{no}." for no in _NOT_FOR_LISTING))] == []


# What fetches, makes and logs in to guests.
_NOT_FOR_STOPPING = (
    *("cryptography", "paramiko", "pycdlib", "requests", "yaml"),
    *("vm_manager.guest", "vm_manager.images", "vm_manager.vmfile"),
)


@pytest.mark.parametrize("words", [("suspend", "web"), ("stop", "web", "db"), ("destroy", "web")], ids=" ".join)
@pytest.mark.usefixtures("project")
def test_stopping_loads_nothing_that_only_starting_needs(words: tuple[str, ...]) -> None:
    loaded = _loaded(*words)
    assert "vm_manager.app.apply" in loaded
    assert [name for name in sorted(loaded) if f"{name}.".startswith(tuple(f"{no}." for no in _NOT_FOR_STOPPING))] == []


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


@pytest.mark.usefixtures("project")
def test_the_shell_completes_names_of_vms() -> None:
    assert _completions("status", "w") == ["web"]
