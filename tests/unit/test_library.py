"""The package's own names: all that `Manager` takes, returns and raises, and nothing of it loaded before it is asked for."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

import vm_manager
from vm_manager import Manager
from vm_manager.diagnostics import errors

# What annotations are made of that is not vmctl's.
_FOREIGN = {
    *vars(builtins),
    "Callable",
    "ClassVar",
    "Iterable",
    "Iterator",
    "Mapping",
    "Path",
    "PathLike",
    "Self",
    "Sequence",
}


def _words(annotation: object) -> set[str]:
    """The names in an annotation, but for modules such as `socket`."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    tree = ast.parse(text, mode="eval")
    modules = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in modules} - _FOREIGN


def _of_signatures() -> Iterator[tuple[str, set[str]]]:
    """What `Manager`'s methods, and the values they take and return, have in their signatures and fields."""
    for name, method in inspect.getmembers(Manager, inspect.isfunction):
        if not name.startswith("_") or name == "__init__":
            for annotation in inspect.unwrap(method).__annotations__.values():
                yield f"Manager.{name}", _words(annotation)
    for name in vm_manager.__all__:
        value = getattr(vm_manager, name)
        if isinstance(value, type) and is_dataclass(value):
            for annotation in value.__annotations__.values():
                yield name, _words(annotation)
            for member in vars(value).values():
                if isinstance(member, property) and member.fget is not None:
                    yield name, _words(member.fget.__annotations__["return"])


def test_signatures_are_found() -> None:
    found = dict(_of_signatures())
    assert {"Manager.up", "Manager.load", "Instance", "Diagnostic"} <= set(found)
    assert set().union(*(words for _, words in _of_signatures())) >= {"Project", "Outcome", "VmSpec", "Evidence"}


def test_everything_that_manager_takes_or_returns_is_exported() -> None:
    missing = {(where, word) for where, words in _of_signatures() for word in words - set(vm_manager.__all__)}
    assert missing == set()


def test_every_failure_is_exported() -> None:
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.VmError)
    }
    assert classes <= set(vm_manager.__all__)


def _codes(docstring: str | None) -> set[str]:
    """The codes behind `Raises:`; "as `up`" is what `up` raises."""
    _, _, raises = (docstring or "").partition("Raises:")
    codes = set(re.findall(r"`((?:[a-z0-9_]+::)+[a-z0-9_]+)`", raises))
    for method in re.findall(r"as `(\w+)`", raises):
        codes |= _codes(getattr(Manager, method).__doc__)
    return codes


def _use_cases() -> Iterator[tuple[str, str, str]]:
    """By method of `Manager`: the module and the name of the function that does its work."""
    (tree,) = ast.parse(inspect.getsource(Manager)).body
    assert isinstance(tree, ast.ClassDef)
    for method in tree.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            for node in ast.walk(method):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    yield from ((method.name, node.module, alias.name) for alias in node.names)


def test_a_method_documents_what_the_function_behind_it_raises() -> None:
    found = [
        (method, _codes(getattr(Manager, method).__doc__), _codes(getattr(import_module(module), name).__doc__))
        for method, module, name in _use_cases()
    ]
    assert len([codes for _, _, codes in found if codes]) > 10
    assert {method: missing for method, documented, raised in found if (missing := raised - documented)} == {}


def test_every_exported_name_is_what_it_is_in_its_module() -> None:
    for home, names in vm_manager._HOMES.items():
        for name in names.split():
            assert getattr(vm_manager, name) is getattr(import_module(home), name)


def test_the_lists_of_names_agree_so_that_type_checkers_see_them_all() -> None:
    tree = ast.parse(Path(vm_manager.__file__).read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vm_manager")
        for alias in node.names
    }
    offered = [(home, name) for home, names in vm_manager._HOMES.items() for name in names.split()]
    assert {f"{home}.{name}" for home, name in offered} == imported
    assert sorted(name for _, name in offered) == sorted(vm_manager.__all__)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vm_manager' has no attribute 'Managr'"):
        getattr(vm_manager, "Managr")  # noqa: B009 - a type checker would refuse it


def test_a_type_checker_sees_the_names_and_no_others(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import vm_manager\nvm_manager.Manager().up(3)\nvm_manager.Managr\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert [line.partition(": error: ")[2].split('"')[1] for line in done.stdout.splitlines()[:-1]] == ["up", "Managr"]


def test_the_names_are_completed() -> None:
    assert set(vm_manager.__all__) <= set(dir(vm_manager))


_LOADED = """
import json, sys
before = set(sys.modules)
import vm_manager
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_the_package_loads_nothing_else_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, timeout=60, check=True)
    loaded = json.loads(done.stdout)
    assert [name for name in loaded if name.startswith("vm_manager")] == ["vm_manager"]
