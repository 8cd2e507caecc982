"""Log files as evidence, bounded in bytes."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.redact import redact_lines

_READ_BYTES = 64 * 1024
_LINE_LENGTH = 500


def quoted_log(path: Path, *, kind: str, title: str, lines: int = 12) -> Evidence | None:
    """What a log says of a failure: its first error, and its last lines; None when there is nothing in it.

    Why it cannot be read becomes `Evidence.error`. Of a long log the beginning and the end are read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            beginning = file.read(_READ_BYTES)
            start = max(len(beginning), size - _READ_BYTES)
            file.seek(start)
            end = file.read(_READ_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Evidence(kind, title, path=str(path), error=error.strerror)
    if (gap := start - len(beginning)) > 0:
        # Lines that are torn are no lines.
        beginning, end = beginning.rpartition(b"\n")[0], end.partition(b"\n")[2] or end
        found = [*_lines(beginning), f"… {gap} bytes …", *_lines(end)]
    else:
        found = _lines(beginning + end)
    if not found:
        return None
    return Evidence(kind, title, excerpt(redact_lines(found), lines), str(path), truncated=len(found) > lines)


def _lines(data: bytes) -> list[str]:
    text = data.decode(errors="replace").replace("\r", "\n")
    return [line[-_LINE_LENGTH:] for line in text.split("\n") if line.strip()]
