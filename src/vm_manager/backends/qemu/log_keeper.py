"""A small process beside each QEMU that keeps its logs from filling the host; it ends with QEMU, and notes when.

Where the VM is on private networks it is also ready to be their switch; see `switch`.

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
# A network whose switch has ended stands still for so long at the most.
_TAKE_OVER_S = 0.25
_CODE = "import sys; sys.path.append(sys.argv[1]); from vm_manager.backends.qemu.log_keeper import main; main()"


def keeper_command(
    process: int, end: int, logs: list[str], networks: list[str], *, cap_bytes: int = CAP_BYTES
) -> list[str]:
    """The command line of a keeper, to be run in the VM's directory.

    process: a pidfd_open(2) descriptor of QEMU; end: of an empty file for the time when that ends. The keeper inherits both.
    logs: their names. networks: the directories of the private networks that the VM is on.
    """
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    # Without site-packages: it is up in some 20 ms and takes 6 MiB of its own.
    numbers = (str(process), str(end), str(cap_bytes), str(len(logs)))
    return [sys.executable, "-I", "-S", "-c", _CODE, package, *numbers, *logs, *networks]


def main() -> None:
    """Look at the logs every two seconds until the process behind the descriptor has ended; then note when that was."""
    process, end, cap_bytes, count = (int(number) for number in sys.argv[2:6])
    logs, networks = sys.argv[6 : 6 + count], sys.argv[6 + count :]
    if networks:
        _switch_until_end(process, networks, logs, cap_bytes)
    else:
        while not select.select([process], [], [], _POLL_S)[0]:
            _cut(logs, cap_bytes)
    with suppress(OSError):
        # Into a file that is open: a VM that is being removed gets no new one.
        os.write(end, str(time.time()).encode())


def _cut(logs: list[str], cap_bytes: int) -> None:
    for log in logs:
        with suppress(OSError):  # there is nobody to tell, and a next time
            cut(log, cap_bytes)


def _switch_until_end(process: int, networks: list[str], logs: list[str], cap_bytes: int) -> None:
    """Be the switch of these networks where nobody else is, and look at the logs meanwhile."""
    from vm_manager.backends.qemu.switch import Switch

    switches = [Switch(directory) for directory in networks]
    looked = taken = 0.0
    while True:
        now = time.monotonic()
        if now >= taken + _TAKE_OVER_S:
            taken = now
            for switch in switches:
                with suppress(OSError):
                    switch.take()
        if now >= looked + _POLL_S:
            looked = now
            _cut(logs, cap_bytes)
        readers = [it for switch in switches for it in switch.readers]
        writers = [it for switch in switches for it in switch.writers]
        waits_for_s = _POLL_S - (now - looked) if all(it.serves for it in switches) else _TAKE_OVER_S
        ready, _, _ = select.select([process, *readers], writers, [], waits_for_s)
        if process in ready:
            return
        for switch in switches:
            switch.serve()
