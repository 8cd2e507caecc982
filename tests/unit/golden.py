"""Golden files: what something has to look like, in `tests/unit/golden/`. `GOLDEN=write pytest …` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "golden"


def assert_golden(name: str, text: str) -> None:
    """Compare a text with the golden file of that name."""
    path = _DIRECTORY / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"differs from {path}: GOLDEN=write accepts it"


def command_text(argv: list[str]) -> str:
    """A command line to read: an option and its value on one line."""
    lines: list[str] = []
    for number, word in enumerate(argv):
        is_value = (
            not word.startswith("-") and number > 1 and argv[number - 1].startswith("-") and argv[number - 1] != "--"
        )
        if is_value:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines) + "\n"
