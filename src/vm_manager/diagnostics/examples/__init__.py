"""What the codes look like: a diagnostic of each, captured by the test that triggers it for real."""

from __future__ import annotations


def example_of(code: str) -> str | None:
    """The captured example of a code in its plain form, or None while its feature is still to come."""
    from importlib.resources import files  # slow to import, and asked for by `explain` only

    path = files(__name__) / file_name(code)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def file_name(code: str) -> str:
    """The name of a code's file: colons are nothing for file names."""
    return f"{code.replace('::', '.')}.txt"
