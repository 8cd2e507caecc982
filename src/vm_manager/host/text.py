"""Tails of log files, bounded in bytes, as evidence."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.diagnostics.model import Evidence

_READ_BYTES = 64 * 1024
_LINE_LENGTH = 500


def tail(path: Path, *, kind: str, title: str, lines: int = 12) -> Evidence | None:
    """The last lines of a log, or None when there is nothing in it; why it cannot be read becomes `Evidence.error`."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _READ_BYTES))
            text = file.read(_READ_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return Evidence(kind, title, path=str(path), error=error.strerror)
    found = [line[-_LINE_LENGTH:] for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if not found:
        return None
    return Evidence(kind, title, tuple(found[-lines:]), str(path), truncated=len(found) > lines or size > _READ_BYTES)
