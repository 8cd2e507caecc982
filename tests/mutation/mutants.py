"""The rules of the VMFile language, each as a mutant: vmctl without that rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_PACKAGE = "vm_manager.vmfile"
_SOURCES = Path(__file__).parents[2] / "src" / "vm_manager" / "vmfile"
#: Where problems are noted, or flaws found.
_MODULES = (
    "decode", "values", "pending", "key_files", "user_data",
    *(f"rules.{name}" for name in ("depends", "files", "guest", "image", "names", "network", "platform")),
)  # fmt: skip


#: Parts whose absence nobody can see: a file without vm is refused anyway, and so is every network that these two belong to.
_EQUIVALENT = frozenset({"table:vm:required"})


def all_mutants() -> list[str]:
    """The names of all mutants: `source:module:line` without what that statement finds, `table:path:part` without that part."""
    return [name for name in (*_source_mutants(), *_table_mutants()) if name not in _EQUIVALENT]


def install(name: str) -> None:
    """Make vmctl, which has not been imported yet, that mutant."""
    kind, where, what = name.split(":")
    if kind == "source":
        sys.meta_path.insert(0, _Finder(f"{_PACKAGE}.{where}", int(what)))
    else:
        _change_table(where, what)


# Statements that note a problem


def _source_mutants() -> Iterator[str]:
    for module in _MODULES:
        tree = ast.parse((_SOURCES / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        statements = (node for node in ast.walk(tree) if isinstance(node, ast.stmt))
        yield from (f"source:{module}:{node.lineno}" for node in statements if _notes(node) or _finds(node))


def _notes(node: ast.AST) -> bool:
    """Whether it is a statement such as `problems.add(…)`."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    called = ast.unparse(node.value.func)
    return called == "note" or called.endswith(("problems.add", "problems.warn"))


def _finds(node: ast.AST) -> bool:
    """Whether it is a statement that returns or collects a Flaw."""
    return isinstance(node, (ast.Return, ast.Expr)) and "Flaw(" in ast.unparse(node)


class _Without(ast.NodeTransformer):
    def __init__(self, line: int) -> None:
        self._line = line

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if self._is_it(node) else node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if not self._is_it(node):
            return node
        return ast.fix_missing_locations(ast.copy_location(ast.Return(ast.List([], ast.Load())), node))

    def _is_it(self, node: ast.AST) -> bool:
        return getattr(node, "lineno", 0) == self._line and (_notes(node) or _finds(node))


class _Finder(MetaPathFinder, Loader):
    def __init__(self, module: str, line: int) -> None:
        self._module, self._line = module, line

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        found = PathFinder.find_spec(fullname, path)
        assert found is not None
        return ModuleSpec(fullname, self, origin=found.origin)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        assert module.__spec__.origin is not None
        exec(self._code(Path(module.__spec__.origin)), vars(module))  # noqa: S102 - our own source

    def _code(self, path: Path) -> CodeType:
        tree = _Without(self._line).visit(ast.parse(path.read_text(encoding="utf-8")))
        return compile(ast.fix_missing_locations(tree), str(path), "exec")


# Parts of the description of the language


def _table_mutants() -> Iterator[str]:
    from vm_manager.vmfile.language import VM

    yield from _entry_mutants(VM, "vm")


def _entry_mutants(entry: Any, path: str) -> Iterator[str]:
    yield f"table:{path}:many"
    for part in ("required", "body", "only", "also", "choices"):
        if getattr(entry, part):
            yield f"table:{path}:{part}"
    for number, argument in enumerate(entry.arguments):
        parts = ("low", "high", "form", "words", "later", "empty")
        yield from (f"table:{path}:{part}-{number}" for part in parts if getattr(argument.type, part, None))
    for child in entry.entries:
        yield from _entry_mutants(child, f"{path}/{child.name}")


def _change_table(path: str, what: str) -> None:
    from vm_manager.vmfile.grammar import Text
    from vm_manager.vmfile.language import DOCUMENT

    entry: Any = DOCUMENT
    for name in path.split("/"):
        entry = entry.find(name)
    part, _, number = what.partition("-")
    if not number:
        value = getattr(entry, part)
        # Shared objects stand for all their places.
        object.__setattr__(entry, part, not value if isinstance(value, bool) else ())
        return
    argument = entry.arguments[int(number)]
    if part == "words":
        object.__setattr__(argument, "type", Text())
    else:
        blank: dict[str, Any] = {"low": -(10**30), "high": 10**30, "form": None, "later": frozenset(), "empty": False}
        object.__setattr__(argument.type, part, blank[part])
