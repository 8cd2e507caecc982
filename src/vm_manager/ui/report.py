"""How a diagnostic reads: one layout, from which the plain and the coloured form are made.

error[code]: message
  --> file:line:column
   |
12 | the line
   | ^^^ what is wrong with it
  = vm: web, while provisioning, after 3.2 s
  = caused by: …
  = evidence …
  = help: …
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vm_manager.diagnostics.model import Diagnostic, Evidence, Label
from vm_manager.ui.safe_text import safe_line


@dataclass(frozen=True)
class Line:
    """A line of the report: parts of (style, text).

    hang: the column at which its continuation rows begin; wraps: False where columns must stay below each other.
    """

    parts: tuple[tuple[str, str], ...]
    hang: int = 0
    wraps: bool = True

    @property
    def text(self) -> str:
        """The line without styles."""
        return "".join(text for _, text in self.parts)


def report(diagnostic: Diagnostic) -> Iterator[Line]:
    """The lines of a diagnostic, and of those related to it before its own summary or after its first problem."""
    if diagnostic.related and not diagnostic.labels:
        for related in diagnostic.related:
            yield from _one(related)
            yield Line(())
        yield from _one(diagnostic)
        return
    yield from _one(diagnostic)
    for related in diagnostic.related:
        yield Line(())
        yield from _one(related)


def _one(diagnostic: Diagnostic) -> Iterator[Line]:
    style = diagnostic.severity.value
    head = f"{diagnostic.severity}[{diagnostic.code}]"
    yield Line(((style, head), ("strong", f": {safe_line(diagnostic.message)}")))
    yield from _snippets(diagnostic.labels)
    if about := _about(diagnostic):
        yield from _entry("", about)
    for depth, cause in enumerate(diagnostic.causes):
        code = f" [{cause.code}]" if cause.code else ""
        kind = "" if cause.code else f"{cause.type}: "
        text = safe_line(" ".join(f"{kind}{cause.message}".split()))
        yield from _entry("caused by" if depth == 0 else "  and that by", f"{text}{code}")
    for evidence in diagnostic.evidence:
        yield from _evidence(evidence)
    for note in diagnostic.notes:
        yield from _entry("note", note)
    for advice in diagnostic.help:
        yield from _entry("help", advice, "help")


def _about(diagnostic: Diagnostic) -> str:
    parts = []
    if diagnostic.subject.vm:
        parts.append(f"vm: {diagnostic.subject.vm}")
    if diagnostic.operation:
        parts.append(f"operation: {diagnostic.operation}")
    if diagnostic.elapsed_s is not None and diagnostic.elapsed_s >= 0.1:
        parts.append(f"after {diagnostic.elapsed_s:.1f} s")
    return ", ".join(parts)


def _entry(label: str, text: str, style: str = "") -> Iterator[Line]:
    label = f"{label}: " if label else ""
    first, *rest = text.strip().split("\n")
    start = (("frame", "  = "), (style or "label", label))
    yield Line((*start, (style and "text", safe_line(first))), hang=4 + len(label))
    for line in rest:
        yield Line((("frame", "    "), ("text", safe_line(line))), hang=4)


def _evidence(evidence: Evidence) -> Iterator[Line]:
    where = f" ({evidence.path})" if evidence.path else ""
    yield from _entry("evidence", f"{evidence.title}{where}")
    if evidence.error:
        yield Line((("frame", "  | "), ("quote", f"cannot be read: {safe_line(evidence.error)}")), hang=4)
    if evidence.truncated:
        yield Line((("frame", "  | "), ("quote", "…")), hang=4)
    for line in evidence.lines:
        yield Line((("frame", "  | "), ("quote", safe_line(line))), hang=4)


def _snippets(labels: tuple[Label, ...]) -> Iterator[Line]:
    ordered = sorted(labels, key=lambda label: not label.primary)
    for _, group in groupby(ordered, key=lambda label: label.source.name):
        yield from _snippet(list(group))


def _snippet(labels: list[Label]) -> Iterator[Line]:
    source = labels[0].source
    places = sorted(((*source.position(label.span.start), label) for label in labels), key=lambda place: place[:2])
    first_line, first_column = source.position(labels[0].span.start)
    gutter = len(str(places[-1][0]))
    yield Line((("frame", f"{'':{gutter}}--> "), ("text", f"{safe_line(source.name)}:{first_line}:{first_column}")))
    yield Line((("frame", f"{'':{gutter}} |"),))
    for number, on_line in groupby(places, key=lambda place: place[0]):
        text = source.line(number)
        yield Line((("frame", f"{number:>{gutter}} | "), ("text", safe_line(text.expandtabs(4)))), wraps=False)
        for _, column, label in on_line:
            yield _underline(text, column - 1, label, gutter)
    yield Line((("frame", f"{'':{gutter}} |"),))


def _underline(text: str, start: int, label: Label, gutter: int) -> Line:
    end = min(start + max(1, label.span.end - label.span.start), max(len(text), start + 1))
    before = _columns(text[:start].expandtabs(4))
    width = max(1, _columns(text[:end].expandtabs(4)) - before)
    mark, style = ("^", "mark") if label.primary else ("-", "mark2")
    marks = f"{'':{before}}{mark * width} "
    return Line((("frame", f"{'':{gutter}} | "), (style, marks + safe_line(label.text))), wraps=False)


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(safe_line(text))
