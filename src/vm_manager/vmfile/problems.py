"""Everything that is wrong with a VMFile, collected so that all of it can be said at once."""

from __future__ import annotations

from collections.abc import Iterable

from vm_manager.diagnostics.errors import VmFileError, VmFileInvalid, VmFileParseFailed
from vm_manager.diagnostics.model import Diagnostic, Edit, Label, Suggestion
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.vmfile.nodes import SyntaxProblem

#: More are counted, but not told: nobody reads them, and a file may be made of them.
MOST_PROBLEMS = 100
_LONGEST_TEXT = 400


class Problems:
    """Collects the problems of one source text: the first hundred of them, and how many more there are."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._more = 0
        self._found: list[tuple[int, VmFileError]] = []
        self._warnings: list[tuple[int, Diagnostic]] = []

    def written(self, span: Span) -> str:
        """What stands there, as far as it may be quoted."""
        return self.source.text[span.start : span.end]

    @property
    def is_full(self) -> bool:
        """Whether further problems are counted only: what is costly to say need not be made up."""
        return len(self._found) >= MOST_PROBLEMS

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
        if self.is_full:
            self._more += 1
            return
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
        if len(self._warnings) >= MOST_PROBLEMS:
            return
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
        others = (*(Label(self.source, at, _cut(text), False) for at, text in related), *elsewhere)
        labels = (Label(self.source, span, _cut(label)), *others)
        return VmFileInvalid("{problem}", {"problem": _cut(message)}, help=(_cut(help),), labels=labels)

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
            raise errors[0][1].enrich(related=(*(diagnostic for _, diagnostic in others), *self._rest()))

    def _rest(self) -> Iterable[Diagnostic]:
        if self._more:
            what = "{count} more problem is not shown" if self._more == 1 else "{count} more problems are not shown"
            yield VmFileInvalid(what, {"count": self._more}, help=("fix the first ones and try again",)).diagnostic


def _cut(text: str) -> str:
    text = safe_line(text[: _LONGEST_TEXT * 2])
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
