"""What happened to an instance, one JSON object a line; the last failure is derived from it.

A line is appended with a single O_APPEND write, so readers and several writers need no lock, and a torn last line
(power cut) is skipped.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import LastFailure
from vm_manager.state.files import private

if TYPE_CHECKING:
    from pathlib import Path

    from vm_manager.diagnostics.model import Diagnostic

# The newest lines decide; a journal is never read further back than this.
_READ_BYTES = 256 * 1024


def record_success(journal: Path, operation: str) -> None:
    """Note that an operation succeeded, which outdates its earlier failures."""
    _append(journal, {"operation": operation, "outcome": "ok"})


def record_failure(journal: Path, operation: str, diagnostic: Diagnostic) -> None:
    """Note a failure."""
    _append(
        journal,
        {
            "operation": operation,
            "outcome": "failed",
            "code": diagnostic.code,
            "message": diagnostic.message,
            "help": list(diagnostic.help),
        },
    )


def last_failure(journal: Path) -> LastFailure | None:
    """The newest failure whose operation has not succeeded since, or None."""
    succeeded: set[str] = set()
    for entry in reversed(_read(journal)):
        operation = str(entry.get("operation"))
        if entry.get("outcome") == "ok":
            succeeded.add(operation)
        elif operation not in succeeded:
            helps = entry.get("help")
            return LastFailure(
                time=str(entry.get("time")),
                operation=operation,
                code=str(entry.get("code")),
                message=str(entry.get("message")),
                help=tuple(map(str, helps)) if isinstance(helps, list) else (),
            )
    return None


def _append(journal: Path, entry: dict[str, object]) -> None:
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry}) + "\n"
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
            with journal.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
                lines = file.read().splitlines()
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
