"""What a traceback shows of a failure below its message: the places, what else failed, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from vm_manager.diagnostics.model import Diagnostic, Label
from vm_manager.diagnostics.safe_text import safe_line


def advice(diagnostic: Diagnostic) -> Iterator[str]:
    """The lines, without a line end; they may be printed as they are."""
    for label in diagnostic.labels:
        yield _shown(f"at: {_place(label)}: {label.text}")
    for other in diagnostic.related:
        where = f" ({_place(other.labels[0])})" if other.labels else ""
        yield _shown(f"also: {other.message}{where}")
    for note in diagnostic.notes:
        yield _shown(f"note: {note}")
    for way in diagnostic.help:
        yield _shown(f"help: {way}")
    yield f"code: {diagnostic.code}"


def _place(label: Label) -> str:
    line, column = label.source.position(label.span.start)
    return f"{label.source.name}:{line}:{column}"


def _shown(text: str) -> str:
    return " ".join(safe_line(line).strip() for line in text.splitlines())
