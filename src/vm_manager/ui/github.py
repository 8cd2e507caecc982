"""Diagnostics as annotations of a GitHub workflow: a command that marks the line, then the plain form.

Source: GitHub's documentation, "Workflow commands", and the runner's ActionCommand. What a guest, a file or a server said
must not be able to give the runner commands: lines of ours that quote it stand where commands are switched off, and the
older form of a command, which the runner finds anywhere in a line, is broken up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from vm_manager.diagnostics.model import Diagnostic, Severity
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.ui.report import report

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.ADVICE: "notice"}


def github_lines(diagnostic: Diagnostic) -> Iterator[str]:
    """The lines for a diagnostic and all related to it."""
    for each in (diagnostic, *diagnostic.related):
        yield _annotation(each)
    token = secrets.token_hex(16)
    yield f"::stop-commands::{token}"
    for line in report(diagnostic):
        yield harmless(line.text)
    yield f"::{token}::"


def harmless(line: str) -> str:
    """A line in which the runner finds no command and no style."""
    if line.lstrip().startswith("::"):  # the runner, too, looks behind the white space
        line = f"| {line}"
    return line.replace("##[", "## [")


def _annotation(diagnostic: Diagnostic) -> str:
    properties = {"title": diagnostic.code}
    primary = next((label for label in diagnostic.labels if label.primary), None)
    if primary is not None:
        line, column = primary.source.position(primary.span.start)
        end_line, end_column = primary.source.position(primary.span.end)
        properties |= {"file": primary.source.name, "line": str(line), "col": str(column)}
        if end_line == line:
            properties["endColumn"] = str(end_column)
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = " — ".join((diagnostic.message, *diagnostic.help[:1]))
    return f"::{_COMMANDS[diagnostic.severity]} {listed}::{_data(harmless(safe_line(text)))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(safe_line(text)).replace(":", "%3A").replace(",", "%2C")
