"""What vmctl does in detail, on standard error: for -v, and for VMCTL_LOG=debug|info|warning|error."""

from __future__ import annotations

import logging
import os

from vm_manager.ui.safe_text import safe_line

_QUIETER = ("asyncio", "paramiko.transport", "urllib3.connectionpool")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(safe_line(line) for line in super().format(record).splitlines())


def show_logs(verbose: int) -> None:
    """Send log records to standard error.

    verbose: 0: as VMCTL_LOG says, by default none; 1: programs that are run; 2: everything.
    """
    wanted = os.environ.get("VMCTL_LOG", "").upper()
    levels = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
    level = min(levels.get(wanted, logging.CRITICAL), (logging.CRITICAL, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(relativeCreated)7d ms %(levelname)-5s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIETER:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
