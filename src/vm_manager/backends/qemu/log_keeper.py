"""A small process beside each QEMU that keeps its logs from filling the host; it ends with QEMU, and notes when.

QEMU writes `console.log` itself and knows no limit, and what it writes there is the guest's to decide. It is not put behind
a pipe: whoever reads a pipe can stall the guest, whereas without its keeper a log merely grows.

Runs in a bare interpreter: the standard library's lightest modules only.
"""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress

from vm_manager.state.log_rotation import CAP_BYTES, cut

_POLL_S = 2.0
_CODE = "import sys; sys.path.append(sys.argv[1]); from vm_manager.backends.qemu.log_keeper import main; main()"


def keeper_command(process: int, end: int, logs: list[str], *, cap_bytes: int = CAP_BYTES) -> list[str]:
    """The command line of a keeper, to be run in the VM's directory.

    process: a pidfd_open(2) descriptor of QEMU; end: of an empty file for the time when that ends. The keeper inherits both.
    logs: their names.
    """
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    # Without site-packages: it is up in some 20 ms and takes 6 MiB of its own.
    return [sys.executable, "-I", "-S", "-c", _CODE, package, str(process), str(end), str(cap_bytes), *logs]


def main() -> None:
    """Look at the logs every two seconds until the process behind the descriptor has ended; then note when that was."""
    process, end, cap_bytes, logs = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
    while not select.select([process], [], [], _POLL_S)[0]:
        for log in logs:
            with suppress(OSError):  # there is nobody to tell, and a next time
                cut(log, cap_bytes)
    with suppress(OSError):
        # Into a file that is open: a VM that is being removed gets no new one.
        os.write(end, str(time.time()).encode())
