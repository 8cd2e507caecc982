"""What stands in a guest's console log, found by what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.safe_text import safe_lines

_READ_BYTES = 256 * 1024
_LINE_LENGTH = 500
_BEFORE, _AFTER = 3, 14
_PANIC = re.compile(r"Kernel panic - not syncing")


def panic_lines(text: str) -> tuple[str, ...]:
    """The last panic of a Linux kernel in a console's text, with what stands around it; empty when there is none."""
    lines = [line[:_LINE_LENGTH] for line in safe_lines(text) if line.strip()]
    found = [number for number, line in enumerate(lines) if _PANIC.search(line) and "end Kernel panic" not in line]
    return tuple(lines[max(0, found[-1] - _BEFORE) : found[-1] + _AFTER]) if found else ()


def panic_evidence(console_log: Path) -> tuple[Evidence, ...]:
    """The last panic in a console's log, as evidence; none when the log shows none."""
    try:
        with console_log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            text = file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return ()
    lines = panic_lines(text)
    return (Evidence("console", "the guest's console", lines, str(console_log), truncated=True),) if lines else ()
