"""Every text in the source that a user reads, held to the rules for messages, codes and commands."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

import vm_manager.diagnostics.errors as errors_module
from vm_manager.cli.main import app
from vm_manager.cli.settings import Settings, current
from vm_manager.diagnostics.errors import Usage, VmError
from vm_manager.diagnostics.registry import CODES

_SOURCES = sorted(Path(errors_module.__file__).parents[1].rglob("*.py"))
# Words that are written as they are wherever they stand.
_NAMES = ("QEMU", "KVM", "VMCTL_", "VM ", "OpenSSH", "SSH", "HTTP", "{", "`", "'")


def _messages() -> Iterator[tuple[str, str]]:
    """The templates of all failures: where, and what."""
    leaves = {
        name for name, value in vars(errors_module).items() if isinstance(value, type) and issubclass(value, VmError)
    }
    for path, tree in _trees():
        for node in ast.walk(tree):
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


_LEAVES = {
    name: value.code
    for name, value in vars(errors_module).items()
    if isinstance(value, type) and issubclass(value, VmError) and "code" in vars(value)
}
# Calls that take texts of a VMFile's problems: the place of the message among the arguments, and of label and help.
_PROBLEMS = {"SyntaxProblem": (0, (2,)), "add": (1, (2, 3)), "_problem": (0, (2,))}


def _text(node: ast.expr) -> str | None:
    """A text in the source, with `{}` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


@cache
def _trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in _SOURCES]


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    """All calls by a name: where, the name, the call."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                yield f"{path.name}:{node.lineno}", name, node


def _problem_texts() -> Iterator[tuple[str, str, bool]]:
    """The texts of problems of VMFiles: where, what, and whether it is the message."""
    for where, name, call in _calls():
        message, others = _PROBLEMS.get(name, (None, ()))
        if message is None or len(call.args) < 2:
            continue
        for place in (message, *others):
            text = _text(call.args[place]) if place < len(call.args) else None
            if text is not None:
                yield where, text, place == message


def _advice() -> Iterator[tuple[str, str]]:
    """The texts of `help` and `notes` that failures bring with them: where, and what."""
    for where, name, call in _calls():
        if name not in _LEAVES and name not in ("enrich", "add"):
            continue
        for keyword in call.keywords:
            if keyword.arg in ("help", "notes"):
                values = keyword.value.elts if isinstance(keyword.value, ast.Tuple) else [keyword.value]
                yield from ((where, text) for value in values if (text := _text(value)) is not None)


def test_the_texts_of_problems_and_advice_are_found() -> None:
    assert len([text for _, text, is_message in _problem_texts() if is_message]) > 25
    assert len(list(_advice())) > 20


def test_the_message_of_a_problem_obeys_the_rules_of_messages() -> None:
    wrong = [
        (where, text)
        for where, text, is_message in _problem_texts()
        if is_message
        and ("\n" in text or text.endswith((".", "!")) or not (text[0].islower() or text.startswith(_NAMES)))
    ]
    assert wrong == []


def test_a_label_a_help_and_a_note_end_without_a_period() -> None:
    texts = [*((where, text) for where, text, _ in _problem_texts()), *_advice()]
    assert [(where, text) for where, text in texts if re.search(r"(?<!\.)[.!]$|^\s|\s$", text)] == []


def test_no_message_says_that_it_is_one() -> None:
    banned = re.compile(
        r"(?i)^(failed to|failure|error|fatal|warning|unable to|cannot |sorry|oops)|\b(failed to|please)\b|\bsuccessfully\b"
    )
    messages = [*_messages(), *((where, text) for where, text, is_message in _problem_texts() if is_message)]
    assert [(where, text) for where, text in messages if banned.search(text)] == []


def test_no_message_quotes_its_cause() -> None:
    assert [
        (where, text) for where, text in _messages() if re.search(r"\{(error|exception|reason|cause|err)\}", text)
    ] == []


def test_the_texts_of_a_code_are_lines_that_begin_lower_case_and_end_without_a_period() -> None:
    wrong = [
        (entry.code, text)
        for entry in CODES.values()
        for text in (entry.help, *entry.causes)
        if "\n" in text
        or text.endswith((".", "!", "?"))
        or text != text.strip()
        or not (text[0].islower() or text.startswith((*_NAMES, "--")))
        or re.match("(?i)(failed to|error)", text)
    ]
    assert wrong == []
    assert [entry.code for entry in CODES.values() if not 0 < len(set(entry.causes)) == len(entry.causes)] == []
    assert [entry.code for entry in CODES.values() if "\n" in entry.meaning] == []


# Commands in texts


def _commands(text: str) -> list[str]:
    return [found for found in re.findall(r"`(vmctl(?: [^`\n]*)?)`", text) if "::" not in found.split()[0]]


def _all_commands() -> list[tuple[str, str]]:
    """Every command that a text in the source names, with a VM's name for what is filled in."""
    found = []
    for path, tree in _trees():
        for node in ast.walk(tree):
            text = _text(node) if isinstance(node, (ast.Constant, ast.JoinedStr)) else None
            found += [(path.name, command) for command in _commands(text or "") if not command.startswith("vmctl {}")]
    return sorted({(name, command.replace("{}", "web")) for name, command in found})


@cache
def _command_line() -> Any:
    return get_command(app)


def _fault(command: str) -> str | None:
    """Why the real command line does not take a command; a mere mention need not name the VM."""
    vars(current).update(vars(Settings()))
    arguments = [word for word in shlex.split(command)[1:] if word not in ("--help", "-h", "--version")]
    group = _command_line()
    try:
        context: Any = group.make_context("vmctl", arguments or ["list"])
        # A command may have commands of its own; one that is merely mentioned need not be complete.
        while isinstance(context.command, TyperGroup) and (words := [*context._protected_args, *context.args]):
            name, found, rest = context.command.resolve_command(context, words)
            assert found is not None
            context = found.make_context(name, rest, parent=context)
    except typer.TyperException as error:
        return None if type(error).__name__ == "MissingParameter" else str(error)
    except Usage as error:
        return str(error)
    finally:
        vars(current).update(vars(Settings()))
    return None


def test_the_commands_in_texts_are_found() -> None:
    assert len(_all_commands()) > 20


def test_every_command_in_a_text_is_one_that_vmctl_takes() -> None:
    wrong = [(name, command, fault) for name, command in _all_commands() if (fault := _fault(command)) is not None]
    assert wrong == []


@pytest.mark.parametrize(
    "command",
    [
        "vmctl nosuch",
        "vmctl up --bogus",
        "vmctl list extra",
        "vmctl down --timeout soon",
        "vmctl up --color sometimes",
        "vmctl snapshot lst web",
    ],
)
def test_a_command_that_vmctl_does_not_take_is_noticed(command: str) -> None:
    assert _fault(command) is not None


# Docstrings


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods with a docstring: where, and the function. A command's docstring is its help."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            if (
                path.parent.name != "cli"
                and isinstance(node, ast.FunctionDef)
                and not node.name.startswith("_")
                and ast.get_docstring(node)
            ):
                yield f"{path.name}:{node.name}", node


def _documented(function: ast.FunctionDef) -> set[str]:
    """The codes behind `Raises:` in full."""
    _, _, raises = (ast.get_docstring(function) or "").partition("Raises:")
    found = re.findall(r"`((?:[a-z0-9_]+::)+[a-z0-9_]+)`", raises)
    return {code if code in CODES else f"vm_manager::{code}" for code in found}


def _raised(function: ast.FunctionDef) -> set[str]:
    """The codes that a function raises itself, but for those that it catches again."""
    caught = {
        name.id
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and node.type is not None
        for name in ast.walk(node.type)
        if isinstance(name, ast.Name)
    }
    return {
        _LEAVES[node.exc.func.id]
        for node in ast.walk(function)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in _LEAVES
        and node.exc.func.id not in caught
    }


def test_the_codes_of_docstrings_are_found() -> None:
    assert sum(bool(_documented(function)) for _, function in _functions()) > 30
    assert sum(bool(_raised(function)) for _, function in _functions()) > 10


def test_every_code_behind_raises_exists() -> None:
    assert [(where, codes) for where, each in _functions() if (codes := _documented(each) - set(CODES))] == []


def test_what_a_public_function_raises_itself_is_behind_its_raises() -> None:
    wrong = [(where, missing) for where, each in _functions() if (missing := _raised(each) - _documented(each))]
    assert wrong == []
