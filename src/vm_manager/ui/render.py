"""A diagnostic as a text, for programs that use the library."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.model import Diagnostic
from vm_manager.ui.formats import ErrorFormat


def render(failure: VmError | Diagnostic, format: str = "plain", *, width: int = 80) -> str:
    """A failure or warning as vmctl writes it on standard error, without a line end.

    format: `plain`, `fancy` with the colours of a terminal unless NO_COLOR is set, `json` or `github`; see `--error-format`.
    width: the columns that `fancy` is folded to; the others are never folded.
    """
    diagnostic = failure.diagnostic if isinstance(failure, VmError) else failure
    match ErrorFormat(format):
        case ErrorFormat.FANCY:
            return _fancy(diagnostic, width)
        case ErrorFormat.JSON:
            from vm_manager.ui.ndjson import diagnostic_line

            return diagnostic_line(diagnostic)
        case ErrorFormat.GITHUB:
            from vm_manager.ui.github import github_lines

            return "\n".join(github_lines(diagnostic))
        case ErrorFormat.PLAIN:
            return "\n".join(_plain(diagnostic))


def _plain(diagnostic: Diagnostic) -> Iterable[str]:
    from vm_manager.ui.report import report

    return (line.text for line in report(diagnostic))


def _fancy(diagnostic: Diagnostic, width: int) -> str:
    from rich.console import Console

    from vm_manager.ui.fancy import draw

    written = StringIO()
    console = Console(
        file=written, width=width, force_terminal=True, color_system="256", markup=False, emoji=False, highlight=False
    )
    draw(console, diagnostic)
    return written.getvalue().rstrip("\n")
