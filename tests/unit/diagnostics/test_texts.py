"""Every text in the source that a user reads, held to the rules for messages, codes and commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_command

import vm_manager.diagnostics.errors as errors_module
from vm_manager.cli.main import app
from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.registry import CODES

_SOURCES = sorted(Path(errors_module.__file__).parents[1].rglob("*.py"))
# Words that are written as they are wherever they stand.
_NAMES = ("QEMU", "VM ", "OpenSSH", "SSH", "HTTP", "{", "`")


def _messages() -> Iterator[tuple[str, str]]:
    """The templates of all failures: where, and what."""
    leaves = {
        name for name, value in vars(errors_module).items() if isinstance(value, type) and issubclass(value, VmError)
    }
    for path in _SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in leaves and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield f"{path.name}:{node.lineno}", first.value


def test_the_messages_of_failures_are_found() -> None:
    assert len(list(_messages())) > 40


def test_a_message_is_one_line_that_begins_lower_case_and_ends_without_a_period() -> None:
    wrong = [
        (where, text)
        for where, text in _messages()
        if "\n" in text or text.endswith((".", "!")) or not (text[0].islower() or text.startswith(_NAMES))
    ]
    assert wrong == []


def test_every_code_that_a_docstring_names_exists() -> None:
    known = {code.removeprefix("vm_manager::") for code in CODES} | set(CODES)
    named = {
        (path.name, code)
        for path in _SOURCES
        for code in re.findall(r"`((?:[a-z0-9_]+::)+[a-z0-9_]+)`", path.read_text(encoding="utf-8"))
    }
    assert {(name, code) for name, code in named if code not in known} == set()


def test_every_command_in_a_text_exists_with_its_options() -> None:
    commands = vars(get_command(app))["commands"]
    wrong = []
    for path in _SOURCES:
        for name, rest in re.findall(r"`vmctl ([a-z-]+)([^`\n]*)`", path.read_text(encoding="utf-8")):
            known = (
                {option for parameter in commands[name].params for option in parameter.opts}
                if name in commands
                else set()
            )
            used = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition(" -- ")[0]))
            if not name.startswith("-") and (name not in commands or used - known):
                wrong.append((path.name, f"vmctl {name}{rest}"))
    assert wrong == []
