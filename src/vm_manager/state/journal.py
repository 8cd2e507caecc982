"""What happened to an instance, one JSON object a line; the last failure is derived from it.

A line is appended with a single O_APPEND write, so readers and several writers need no lock, and a torn last line
(power cut) is skipped. What befell a VM while no command was at work on it is written by whoever looks first.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import INCIDENT, LastFailure
from vm_manager.domain.owners import opened_own
from vm_manager.state.files import private

if TYPE_CHECKING:
    from pathlib import Path

    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.instance import Incident

# The newest lines decide; a journal is never read further back than this.
_READ_BYTES = 256 * 1024
# A line is read back by every `list`: what shows the failure is kept short.
_EVIDENCE, _EVIDENCE_LINES, _LINE_CHARS = 4, 20, 200
# What befell a running VM is over when it runs again.
_SETTLED_BY = {INCIDENT: ("start", "resume")}


def record_success(journal: Path, operation: str) -> None:
    """Note that an operation succeeded, which outdates its earlier failures."""
    _append(journal, {"operation": operation, "outcome": "ok"})


def record_begun(journal: Path, operation: str) -> None:
    """Note that an operation is about to begin, where what it does would otherwise pass for an accident."""
    _append(journal, {"operation": operation, "outcome": "begun"})


def record_failure(journal: Path, operation: str, diagnostic: Diagnostic) -> None:
    """Note a failure."""
    _append(journal, _failed(operation, diagnostic))


def record_incident(journal: Path, incident: Incident) -> None:
    """Note what befell the VM, unless that stands there already; of several who look at once, one does it."""
    with os_errors(journal):
        descriptor = private(str(journal), os.O_RDWR | os.O_CREAT)
        try:
            # Against others who note incidents only. Nobody waits: who holds it writes the same.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_noted(journal, incident.error.code):
                entry = _failed(INCIDENT, incident.error.diagnostic)
                _append(journal, {"time": incident.time, "seen": _now(), **entry})
        except BlockingIOError:
            return
        finally:
            os.close(descriptor)


def is_end_explained(journal: Path) -> bool:
    """Whether the end of a machine needs no more words: it was asked for, has been told already, or followed no start."""
    from vm_manager.diagnostics.errors import MachineGone  # listing VMs that run does without

    ends = [code for error in MachineGone.__subclasses__() if (code := getattr(error, "code", None))]
    for entry in reversed(_read(journal)):
        operation, outcome = entry.get("operation"), entry.get("outcome")
        if operation in ("start", "resume") and outcome == "ok":
            return False
        # A restore that has only begun: why it failed is told by the command.
        if operation in ("start", "stop", "restore") or any(_tells(entry, code) for code in ends):
            return True
    return True


def last_failure(journal: Path) -> LastFailure | None:
    """The newest failure that no success has outdated, or None."""
    succeeded: set[str] = set()
    for entry in reversed(_read(journal)):
        operation = str(entry.get("operation"))
        if entry.get("outcome") == "ok":
            succeeded.add(operation)
        elif entry.get("outcome") == "failed" and not succeeded.intersection(_SETTLED_BY.get(operation, (operation,))):
            return LastFailure(
                time=str(entry.get("time")),
                operation=operation,
                code=str(entry.get("code")),
                message=str(entry.get("message")),
                help=_texts(entry.get("help")),
                evidence=tuple(_evidence(entry.get("evidence"))),
            )
    return None


def as_failure(incident: Incident) -> LastFailure:
    """An incident as the last failure, where it cannot be noted."""
    shown = incident.error.diagnostic
    return LastFailure(incident.time, INCIDENT, shown.code, shown.message, shown.help, shown.evidence)


def _failed(operation: str, diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "operation": operation,
        "outcome": "failed",
        "code": diagnostic.code,
        "message": diagnostic.message,
        "help": list(diagnostic.help),
        "evidence": [_shortened(evidence) for evidence in diagnostic.evidence[:_EVIDENCE]],
    }


def _is_noted(journal: Path, code: str) -> bool:
    """Whether a failure with this code has been told since the machine began to run."""
    for entry in reversed(_read(journal)):
        if entry.get("outcome") == "ok" and entry.get("operation") in _SETTLED_BY[INCIDENT]:
            return False
        if _tells(entry, code):
            return True
    return False


def _tells(entry: Mapping[str, object], code: str) -> bool:
    return (entry.get("outcome"), entry.get("code")) == ("failed", code)


def _shortened(evidence: Evidence) -> dict[str, object]:
    lines = [line[:_LINE_CHARS] for line in evidence.lines[-_EVIDENCE_LINES:]]
    return {**vars(evidence), "lines": lines, "truncated": evidence.truncated or lines != list(evidence.lines)}


def _evidence(value: object) -> Iterator[Evidence]:
    from vm_manager.diagnostics.model import Evidence

    for item in value if isinstance(value, list) else []:
        if isinstance(item, Mapping):
            path, error = item.get("path"), item.get("error")
            yield Evidence(
                str(item.get("kind")),
                str(item.get("title")),
                _texts(item.get("lines")),
                None if path is None else str(path),
                bool(item.get("truncated")),
                None if error is None else str(error),
            )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _append(journal: Path, entry: dict[str, object]) -> None:
    line = json.dumps({"time": _now(), **entry}) + "\n"
    with os_errors(journal):
        descriptor = private(str(journal), os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            # Behind a line that a power cut tore, ours must not be glued to it.
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (f"\n{line}" if torn else line).encode())
        finally:
            os.close(descriptor)


def _read(journal: Path) -> list[dict[str, object]]:
    with os_errors(journal):
        try:
            with opened_own(journal) as file:
                start = max(0, os.fstat(file).st_size - _READ_BYTES)
                lines = os.pread(file, _READ_BYTES, start).splitlines()
        except FileNotFoundError:
            return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
