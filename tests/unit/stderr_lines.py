"""The lines of `--error-format json`, held to the schema that is published for them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


@cache
def schema() -> Any:
    """The published schema."""
    return json.loads((files("vm_manager.ui") / "schemas" / "stderr.json").read_text(encoding="utf-8"))


def faults(line: str) -> list[str]:
    """What is wrong with a line of standard error; nothing, when a program can read it."""
    try:
        value = json.loads(line, parse_constant=_refuse)
    except ValueError as error:
        return [f"no JSON: {error}: {line}"]
    found = Draft202012Validator(schema()).iter_errors(value)
    return [f"{error.json_path}: {error.message}: {error.context}" for error in found]


def objects(text: str) -> list[Any]:
    """All of standard error as values; every line must be right, and none may be empty."""
    lines = text.splitlines()
    assert [fault for line in lines for fault in faults(line)] == []
    return [json.loads(line) for line in lines]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
