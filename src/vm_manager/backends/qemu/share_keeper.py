"""A small process beside a QEMU with shared directories: starts a virtiofsd for each, and ends them with QEMU.

QEMU holds the other end of a pipe: when it ends, or when vmctl is killed before it has started QEMU, the pipe ends, too. A
virtiofsd that ends before that is noted, since QEMU says nothing of it and the guest waits for ever.

Runs in a bare interpreter: the standard library's lightest modules only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from vm_manager.host.fence import SERVED, Fence, die_with, enter
from vm_manager.state.log_rotation import CAP_BYTES, cut

_POLL_S = 2.0
# QEMU's end closes the connections of its virtiofsds a moment before the pipe.
_QEMU_ENDS_S = 1.0
_CODE = "import sys; sys.path.append(sys.argv[1]); from vm_manager.backends.qemu.share_keeper import {main}; {main}()"


@dataclass(frozen=True)
class Served:
    """One shared directory. socket: the descriptor of the listening one. argv: virtiofsd's, which serves `SERVED`."""

    name: str
    fence: Fence
    socket: int
    argv: tuple[str, ...]


def server_argv(program: str, *, old: bool, socket: int) -> tuple[str, ...]:
    """The command line of a virtiofsd. old: the one in C that was a part of QEMU, which has options of its own."""
    if old:
        return (
            program,
            "-f",
            f"--fd={socket}",
            "--rlimit-nofile=0",
            "-o",
            f"source={SERVED}",
            "-o",
            "sandbox=namespace,log_level=warn",
        )
    return (
        program,
        f"--fd={socket}",
        "--rlimit-nofile=0",
        f"--shared-dir={SERVED}",
        "--sandbox=namespace",
        "--log-level=warn",
    )


def share_keeper_command(life: int, note: int, log: str, served: list[Served]) -> list[str]:
    """The command line of a keeper, to be run in the VM's directory. It inherits the descriptors.

    life: the pipe's end for reading. note: of an empty file, locked as long as the keeper lives. log: of the virtiofsds.
    """
    plan = [[it.name, it.socket, [*it.argv], vars(it.fence)] for it in served]
    return [*_bare("main"), str(life), str(note), log, json.dumps(plan)]


def probe_command(fence: Fence) -> list[str]:
    """The command line of a process that puts up a fence, and ends with 0 where that was possible, else says why not."""
    return [*_bare("probe"), json.dumps(vars(fence))]


def _bare(main: str) -> list[str]:
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    return [sys.executable, "-I", "-S", "-c", _CODE.format(main=main), package]


def probe() -> None:
    """See `probe_command`."""
    try:
        enter(Fence(**json.loads(sys.argv[2])))
    except OSError as error:
        sys.exit(str(error.strerror or error))


def main() -> None:
    """Start the virtiofsds, keep their log from filling the host, and end with QEMU."""
    life, note, log, plan = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], json.loads(sys.argv[5])
    for descriptor in (life, note):
        os.set_inheritable(descriptor, False)
    running: dict[int, tuple[str, int]] = {}
    for name, socket, argv, fence in plan:
        pid = _start(argv, Fence(**fence))
        running[os.pidfd_open(pid)] = (name, pid)
        os.close(socket)
    try:
        _watch(life, note, log, running)
    finally:
        for _, pid in running.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _watch(life: int, note: int, log: str, running: dict[int, tuple[str, int]]) -> None:
    while True:
        ready, _, _ = select.select([life, *running], [], [], _POLL_S)
        if life in ready or (ready and select.select([life], [], [], _QEMU_ENDS_S)[0]):
            return
        for ended in ready:
            name, pid = running.pop(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with suppress(OSError):
                os.write(note, f"{json.dumps([time.time(), name, status])}\n".encode())
                # One that was killed has said nothing.
                said = f"vmctl: the virtiofsd for {name} (process {pid}) ended while QEMU was running, with status {status}\n"
                os.write(2, said.encode(errors="replace"))
        with suppress(OSError):  # there is nobody to tell, and a next time
            cut(log, CAP_BYTES)


def _start(argv: list[str], fence: Fence) -> int:
    keeper = os.getpid()
    if pid := os.fork():
        # The group is ended as a whole: virtiofsd is two processes. Here and there: nobody knows who comes first.
        with suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        enter(fence)
        die_with(keeper)
        os.execv(argv[0], argv)
    except OSError as error:
        os.write(2, f"virtiofsd cannot be started: {error.strerror or error}\n".encode(errors="replace"))
    finally:
        os._exit(127)
