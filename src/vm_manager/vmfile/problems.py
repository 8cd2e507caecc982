"""Everything that is wrong with a VMFile, collected so that all of it can be said at once."""

from __future__ import annotations

from collections.abc import Iterable

from vm_manager.diagnostics.errors import VmFileError, VmFileInvalid, VmFileParseFailed
from vm_manager.diagnostics.model import Edit, Label, Suggestion
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.vmfile.nodes import SyntaxProblem


class Problems:
    """Collects the problems of one source text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: list[tuple[int, VmFileError]] = []

    def add(
        self,
        span: Span,
        message: str,
        label: str,
        help: str,
        *,
        related: Iterable[tuple[Span, str]] = (),
        instead: str | None = None,
    ) -> None:
        """Note a problem: what it is, what to do about it, and further places that matter.

        instead: the text that was probably meant to stand at its place.
        """
        labels = (Label(self.source, span, label), *(Label(self.source, at, text, False) for at, text in related))
        error = VmFileInvalid("{problem}", {"problem": message}, help=(help,), labels=labels)
        if instead is not None:
            error.enrich(suggestions=(Suggestion(help, edits=(Edit(self.source, span, instead),)),))
        self._found.append((span.start, error))

    def add_syntax(self, problem: SyntaxProblem) -> None:
        """Note what the reader could not make sense of."""
        labels = (
            Label(self.source, problem.span, "here"),
            *(Label(self.source, at, text, False) for at, text in problem.related),
        )
        help = (problem.help,) if problem.help else (VmFileParseFailed.entry.help,)
        error = VmFileParseFailed("{problem}", {"problem": problem.message}, help=help, labels=labels)
        self._found.append((problem.span.start, error))

    def raise_if_any(self) -> None:
        """Raises: `vmfile::validation` or `vmfile::parse_failed` for the first problem in the text, with the others related."""
        if self._found:
            first, *others = [error for _, error in sorted(self._found, key=lambda found: found[0])]
            raise first.enrich(related=tuple(error.diagnostic for error in others))
