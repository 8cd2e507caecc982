"""A small process beside each QEMU that keeps its logs from filling the host; it ends with QEMU.

QEMU writes `console.log` itself and knows no limit, and what it writes there is the guest's to decide. It is not put behind
a pipe: whoever reads a pipe can stall the guest, whereas without its keeper a log merely grows.

Runs in a bare interpreter: the standard library's lightest modules only.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

from vm_manager.state.log_rotation import CAP_BYTES, cut

_POLL_S = 2.0
_CODE = "import sys; sys.path.append(sys.argv[1]); from vm_manager.backends.qemu.log_keeper import main; main()"


def keeper_command(process: int, logs: list[str], *, cap_bytes: int = CAP_BYTES) -> list[str]:
    """The command line of a keeper, to be run in the VM's directory.

    process: a pidfd_open(2) descriptor of QEMU, which the keeper inherits. logs: their names.
    """
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    # Without site-packages: it is up in some 20 ms and takes 6 MiB of its own.
    return [sys.executable, "-I", "-S", "-c", _CODE, package, str(process), str(cap_bytes), *logs]


def main() -> None:
    """Look at the logs every two seconds until the process behind the descriptor has ended."""
    process, cap_bytes, logs = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    while not select.select([process], [], [], _POLL_S)[0]:
        for log in logs:
            with suppress(OSError):  # there is nobody to tell, and a next time
                cut(log, cap_bytes)
