"""The program `vmctl`, also as `python -m vm_manager`."""

from __future__ import annotations

import faulthandler
import signal
from contextlib import suppress


def main() -> None:
    """Run the command line of this process, and end it with its status."""
    # Held back until somebody can say what they mean: in Python's imports they would end in a traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    with suppress(RuntimeError, ValueError, OSError):  # there may be no standard error
        # Where a library in C kills the process, its last words are the place.
        faulthandler.enable()
    from vm_manager.cli import main as command_line

    command_line.main()


if __name__ == "__main__":
    main()
