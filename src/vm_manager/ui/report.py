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

from vm_manager.diagnostics.model import Diagnostic, Evidence, Kind
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.ui.snippet import Line, snippets

__all__ = ["Line", "report"]

# Signs of ours that a stream of ASCII does not have; every other character is written as its escape there.
_ASCII = str.maketrans({"…": "...", "→": "->", "—": "-", "–": "-", "│": "|", "✔": "*", "✘": "x"})


def report(diagnostic: Diagnostic, *, width: int | None = None, ascii: bool = False) -> Iterator[Line]:
    """The lines of a diagnostic, and of those related to it.

    Those come before the summary of several VMs, and behind the first of several problems of a file.

    width: columns to which source lines are cut around what is marked; None: as many as are sensible.
    ascii: whether only ASCII can be written.
    """
    layout = _Layout(width, ascii)
    order = (diagnostic, *diagnostic.related) if diagnostic.labels else (*diagnostic.related, diagnostic)
    for number, each in enumerate(order):
        if number:
            yield Line(())
        yield from layout.one(each)


@dataclass(frozen=True)
class _Layout:
    width: int | None
    ascii: bool

    def shown(self, text: str) -> str:
        """A text as it can be written."""
        text = safe_line(text)
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode() if self.ascii else text

    def one(self, diagnostic: Diagnostic) -> Iterator[Line]:
        style = diagnostic.severity.value
        head = f"{diagnostic.severity}[{diagnostic.code}]"
        yield Line(((style, head), ("strong", f": {self.shown(diagnostic.message)}")))
        ordered = sorted(diagnostic.labels, key=lambda label: not label.primary)
        for _, group in groupby(ordered, key=lambda label: label.source.name):
            yield from snippets(list(group), self.width, self.shown)
        if about := _about(diagnostic):
            yield from self.entry("", about)
        for depth, cause in enumerate(_causes(diagnostic)):
            yield from self.entry("caused by" if depth == 0 else "  caused by", cause)
        for evidence in diagnostic.evidence:
            yield from self.evidence(evidence)
        for note in diagnostic.notes:
            yield from self.entry("note", note)
        for advice in diagnostic.help:
            yield from self.entry("help", advice, "help")

    def entry(self, label: str, text: str, style: str = "") -> Iterator[Line]:
        label = f"{label}: " if label else ""
        first, *rest = text.strip().split("\n")
        start = (("frame", "  = "), (style or "label", label))
        yield Line((*start, (style and "text", self.shown(first))), hang=4 + len(label))
        for line in rest:
            yield Line((("frame", "    "), ("text", self.shown(line))), hang=4)

    def evidence(self, evidence: Evidence) -> Iterator[Line]:
        where = f" ({evidence.path})" if evidence.path else ""
        yield from self.entry("evidence", f"{evidence.title}{where}")
        quoted = list(evidence.lines)
        if evidence.truncated:
            quoted.insert(0, "…")
        if evidence.error:
            quoted.insert(0, f"cannot be read: {evidence.error}")
        for line in quoted:
            yield Line((("frame", "  | "), ("quote", self.shown(line))), hang=4, margin="  | ")


def _causes(diagnostic: Diagnostic) -> Iterator[str]:
    """What led to it, each once and in words: the names of classes are for the crash report and for JSON."""
    told = [diagnostic.message, *(line for evidence in diagnostic.evidence for line in evidence.lines)]
    for cause in diagnostic.causes:
        text = " ".join(cause.message.split())
        if diagnostic.kind is Kind.BUG:
            text = f"{cause.type}: {text}"
        if cause.code:
            yield f"{text} [{cause.code}]"
        elif text and not any(text in line for line in told):
            yield text
        told.append(text)


def _about(diagnostic: Diagnostic) -> str:
    parts = []
    if diagnostic.subject.vm:
        parts.append(f"vm: {diagnostic.subject.vm}")
    if diagnostic.operation:
        parts.append(f"operation: {diagnostic.operation}")
    if diagnostic.elapsed_s is not None and diagnostic.elapsed_s >= 0.1:
        parts.append(f"after {diagnostic.elapsed_s:.1f} s")
    return ", ".join(parts)
