"""Documents with the places marked where the reader has to find its problems: `port ⟦22x⟧`."""

from __future__ import annotations

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2 import read
from vm_manager.vmfile.nodes import SyntaxProblem


def unmarked(marked: str) -> tuple[str, list[Span]]:
    """A document without its marks, and the places that they marked."""
    text, spans, start = "", [], 0
    for char in marked:
        if char == "⟦":
            start = len(text)
        elif char == "⟧":
            spans.append(Span(start, len(text)))
        else:
            text += char
    return text, spans


def problems_at_marks(marked: str) -> tuple[SyntaxProblem, ...]:
    """The problems of a document, after a check that they are at the marks, one at each and none elsewhere."""
    text, spans = unmarked(marked)
    _, problems = read(text)
    found = [(text[problem.span.start : problem.span.end], problem.span, problem.message) for problem in problems]
    assert [problem.span for problem in problems] == spans, found
    return problems


def problem_at_mark(marked: str) -> SyntaxProblem:
    """The only problem of a document, after a check that it is at the mark."""
    (problem,) = problems_at_marks(marked)
    return problem
