"""The pages that are made from vmctl itself are those that are in docs/."""

from __future__ import annotations

import ast
import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from unit.stderr_lines import faults, objects, schema
from vm_manager.cli.commands import commands, groups
from vm_manager.diagnostics.registry import CODES

_DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is no part of the package."""
    spec = spec_from_file_location("docs_generate", _DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    return dict(generate.pages())


def test_the_pages_are_up_to_date(pages: dict[str, str]) -> None:
    stale = [name for name, text in pages.items() if (_DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], "`make docs` writes them anew"


def test_there_is_no_page_of_what_is_no_more(pages: dict[str, str]) -> None:
    there = {f"codes/{path.name}" for path in (_DOCS / "codes").iterdir()}
    assert there == {name for name in pages if name.startswith("codes/")}


def test_the_readme_names_every_command() -> None:
    readme = (_DOCS.parent / "README.md").read_text(encoding="utf-8")
    for command in commands():
        assert re.search(f"`(vmctl )?{command.name}[ `]", readme), command.name
    for group in groups():
        (row,) = re.findall(rf"^\| `vmctl {group.name} .*", readme, re.MULTILINE)
        assert [name for name in group.commands if not re.search(rf"[` ]{name}[` ]", row)] == []


def test_every_row_of_the_gallery_has_a_title_and_its_screen() -> None:
    gallery = Path(__file__).parents[1] / "gallery"
    rows = [
        node
        for module in gallery.glob("test_*.py")
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [row.name for row in rows if not ast.get_docstring(row)] == []
    assert [row.name for row in rows if "gallery" not in {argument.arg for argument in row.args.args}] == []
    kept = sorted({path.stem.partition("[")[0] for path in (gallery / "screens").iterdir()})
    assert kept == sorted(row.name.removeprefix("test_") for row in rows)


def test_every_code_has_a_page_with_meaning_causes_and_help() -> None:
    for code, entry in CODES.items():
        text = (_DOCS / "codes" / f"{code.replace('::', '.')}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# `{code}`\n")
        assert all(part in text for part in (entry.meaning, entry.help, *entry.causes)), code


def test_the_index_leads_to_every_page() -> None:
    index = (_DOCS / "codes" / "README.md").read_text(encoding="utf-8")
    assert [code for code in CODES if f"({code.replace('::', '.')}.md)" not in index] == []


def test_the_examples_of_standard_error_are_lines_that_the_schema_describes() -> None:
    text = (_DOCS / "stderr.md").read_text(encoding="utf-8")
    diagnostic, events = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert faults(json.dumps(json.loads(diagnostic))) == []
    assert len(objects(events)) == 2


def test_the_page_of_standard_error_names_every_event() -> None:
    text = (_DOCS / "stderr.md").read_text(encoding="utf-8")
    assert [
        event for event in schema()["$defs"]["event_line"]["oneOf"] if event["$ref"].split("/")[-1] not in text
    ] == []
