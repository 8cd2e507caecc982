"""Everything that is wrong with a VMFile, collected so that all of it can be said at once."""

from __future__ import annotations

from collections.abc import Iterable

from vm_manager.diagnostics.errors import VmFileError, VmFileInvalid, VmFileParseFailed
from vm_manager.diagnostics.model import Diagnostic, Edit, Label, Suggestion
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.vmfile.nodes import SyntaxProblem


class Problems:
    """Collects the problems of one source text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: list[tuple[int, VmFileError]] = []
        self._warnings: list[tuple[int, Diagnostic]] = []

    def written(self, span: Span) -> str:
        """What stands there, as far as it may be quoted."""
        return self.source.text[span.start : span.end]

    def add(
        self,
        span: Span,
        message: str,
        label: str,
        help: str,
        *,
        related: Iterable[tuple[Span, str]] = (),
        elsewhere: Iterable[Label] = (),
        instead: str | None = None,
    ) -> None:
        """Note a problem: what it is, what to do about it, and further places that matter.

        elsewhere: places in other files. instead: the text that was probably meant to stand at its place.
        """
        error = self._invalid(span, message, label, help, related, elsewhere)
        if instead is not None:
            error.enrich(suggestions=(Suggestion(help, edits=(Edit(self.source, span, instead),)),))
        self._found.append((span.start, error))

    def warn(
        self,
        span: Span,
        message: str,
        label: str,
        help: str,
        *,
        related: Iterable[tuple[Span, str]] = (),
        elsewhere: Iterable[Label] = (),
    ) -> None:
        """Note what is allowed, but probably not what is wanted."""
        error = self._invalid(span, message, label, help, related, elsewhere)
        self._warnings.append((span.start, error.as_warning()))

    def _invalid(
        self,
        span: Span,
        message: str,
        label: str,
        help: str,
        related: Iterable[tuple[Span, str]],
        elsewhere: Iterable[Label],
    ) -> VmFileInvalid:
        others = (*(Label(self.source, at, text, False) for at, text in related), *elsewhere)
        labels = (Label(self.source, span, label), *others)
        return VmFileInvalid("{problem}", {"problem": message}, help=(help,), labels=labels)

    def add_syntax(self, problem: SyntaxProblem) -> None:
        """Note what the reader could not make sense of."""
        labels = (
            Label(self.source, problem.span, "here"),
            *(Label(self.source, at, text, False) for at, text in problem.related),
        )
        help = (problem.help,) if problem.help else (VmFileParseFailed.entry.help,)
        error = VmFileParseFailed("{problem}", {"problem": problem.message}, help=help, labels=labels)
        self._found.append((problem.span.start, error))

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The warnings, in the order of the text."""
        return tuple(warning for _, warning in sorted(self._warnings, key=lambda found: found[0]))

    def raise_if_any(self) -> None:
        """Raises: `vmfile::validation` or `vmfile::parse_failed` for the first problem in the text, with the others, and the
        warnings, related.
        """
        if self._found:
            errors = sorted(self._found, key=lambda found: found[0])
            others = [(start, error.diagnostic) for start, error in errors[1:]] + self._warnings
            others.sort(key=lambda found: found[0])
            raise errors[0][1].enrich(related=tuple(diagnostic for _, diagnostic in others))
