"""`vmctl validate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import FileOption, JsonOption, load_project
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.model import Diagnostic, Severity
from vm_manager.ui.documents import diagnostic_items, document

_NAME = "VMFile.kdl"


def validate(file: FileOption = None, json: JsonOption = False) -> None:
    """Check the VMFile and report all problems at once.

    Warnings do not affect the exit status. Nothing is downloaded, created or
    started.
    """
    vms = Manager(backend=current.backend_name)
    try:
        project = load_project(vms, file, warn=True)
    except VmFileError as error:
        current.terminal.show(error.diagnostic)
        _report(file, _each(error.diagnostic), error.diagnostic, json=json)
        raise typer.Exit(error.exit_code) from error
    refused = vms.refusals(project)
    for warning in () if current.quiet else refused:
        current.terminal.show(warning)
    warnings = (*project.warnings, *refused)
    if json:
        _document(project.source.name, valid=True, diagnostics=warnings)
    elif not current.quiet:
        found = _count(len(warnings), "warning") if warnings else "no problems"
        current.terminal.say(f"{project.source.name}: {_count(len(project.specs), 'VM')}, {found}")


def _report(file: Path | None, found: tuple[Diagnostic, ...], first: Diagnostic, *, json: bool) -> None:
    name = first.labels[0].source.name if first.labels else str(file or _NAME)
    if json:
        _document(name, valid=False, diagnostics=found)
        return
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in found)
    if len(found) > 1 and not current.quiet:
        warnings = f", {_count(len(found) - errors, 'warning')}" if len(found) > errors else ""
        current.terminal.say(f"{name}: {_count(errors, 'problem')}{warnings}")


def _document(name: str, *, valid: bool, diagnostics: tuple[Diagnostic, ...]) -> None:
    current.terminal.say_raw(document(file=name, valid=valid, diagnostics=diagnostic_items(diagnostics)))


def _each(diagnostic: Diagnostic) -> tuple[Diagnostic, ...]:
    """A failure and those related to it, none within another."""
    return replace(diagnostic, related=()), *diagnostic.related


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
