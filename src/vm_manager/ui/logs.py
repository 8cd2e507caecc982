"""What vmctl does in detail, on standard error: for -v, and for VMCTL_LOG=debug|info|warning|error."""

from __future__ import annotations

import logging
import os

from vm_manager.ui.formats import ErrorFormat
from vm_manager.ui.terminal import Terminal

_QUIETER = ("asyncio", "paramiko.transport", "urllib3.connectionpool")


class _Handler(logging.Handler):
    """Tells the terminal, in its format."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        from vm_manager.diagnostics.redact import redact

        text = redact(self.format(record))
        if self._terminal.format is ErrorFormat.JSON:
            from vm_manager.ui.ndjson import log_line

            self._terminal.tell_raw(log_line(record.levelname, record.name, text))
            return
        for line in text.splitlines():
            self._terminal.tell(f"{record.relativeCreated:7.0f} ms {record.levelname:<5} {record.name}: {line}")


def show_logs(verbose: int, terminal: Terminal) -> None:
    """Send log records to standard error.

    verbose: 0: as VMCTL_LOG says, by default none; 1: programs that are run; 2: everything.
    """
    wanted = os.environ.get("VMCTL_LOG", "").upper()
    levels = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
    level = min(levels.get(wanted, logging.CRITICAL), (logging.CRITICAL, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    logging.basicConfig(level=level, handlers=[_Handler(terminal)], force=True)
    for name in _QUIETER:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
