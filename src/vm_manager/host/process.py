"""Running programs to their end, with everything that a failure needs to be explained."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.host.environment import clean_environment
from vm_manager.host.sandbox import Sandbox, spawn

_log = logging.getLogger(__name__)

_QUOTED_LINES = 12
_PIECE_BYTES = 64 * 1024
_KEPT_BYTES = 4 * 1024 * 1024
_POLL_S = 0.2


class ProcessFailed(Exception):
    """A program that did not exit with 0, or not in time. Translated by whoever ran it; never leaves the library."""

    def __init__(self, result: Finished) -> None:
        super().__init__(f"{result.argv[0]} {describe_status(result.status)}")
        self.result = result

    @property
    def evidence(self) -> Evidence:
        """The command line, how it ended and what it said."""
        said = self.result.stderr.splitlines()
        quoted = excerpt(said, _QUOTED_LINES)
        lines = (f"$ {shlex.join(self.result.argv)}", *quoted, describe_status(self.result.status))
        return Evidence("process", self.result.argv[0], lines, truncated=len(said) > _QUOTED_LINES)


@dataclass(frozen=True)
class Finished:
    """A program that has ended. status: its exit status, negative for a signal, None when it was ended at its time limit."""

    argv: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Limits:
    """What a program may use that works on data of others; beyond it, it is refused memory, or killed.

    memory_bytes: of address space. cpu_s: processor time in all. file_bytes: of each file that it writes.
    """

    memory_bytes: int
    cpu_s: int
    file_bytes: int


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: str = "",
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
    cancel: CancelToken | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run a program, with nothing but `stdin` to read, and return what it wrote: the first 4 MiB of each stream.

    sandbox: what it may do; None: all that the user may. env: what it sees of the environment; default: what every program needs.
    watch: called about five times a second meanwhile; what it raises ends the program.
    Raises: `ProcessFailed` for any end but exit status 0; `host::no_sandbox`, `vmctl::interrupted`; `OSError` when it cannot be
    executed.
    """
    _log.info("$ %s", shlex.join(argv))
    pipe = subprocess.PIPE
    with spawn(
        _limited(argv, limits),
        sandbox,
        program=Path(argv[0]),
        env=clean_environment() if env is None else env,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    ) as child:
        said = tuple(_Said(stream) for stream in (child.stdout, child.stderr) if stream)
        try:
            if child.stdin:
                with suppress(BrokenPipeError), child.stdin as input:
                    input.write(stdin.encode())
            status = _end(child, said, Deadline(timeout_s, cancel), watch)
        finally:
            child.kill()  # nothing, when it has ended
    finished = Finished(tuple(argv), status, said[0].text, said[1].text)
    if status != 0:
        raise ProcessFailed(finished)
    return finished


# Set by a shell before the program is there: `preexec_fn` is not safe beside threads, prlimit(2) from outside comes too late
# and does not reach what has been started meanwhile, and prlimit(1) is not everywhere. Where a limit cannot be set, a
# stricter one is in force already. Source: POSIX, `ulimit`; `-v` and `-t` are dash's, bash's and BusyBox's.
# glibc reserves 128 MiB of addresses for each thread that allocates, unless it may have one heap only; see mallopt(3).
_SET_LIMITS = """\
ulimit -c 0 2>/dev/null; ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; ulimit -f "$3" 2>/dev/null
shift 3; MALLOC_ARENA_MAX=1 exec "$@"
"""


def _limited(argv: Sequence[str], limits: Limits | None) -> Sequence[str]:
    if limits is None:
        return argv
    figures = (limits.memory_bytes // 1024, limits.cpu_s, limits.file_bytes // 512)
    return ["/bin/sh", "-c", _SET_LIMITS, "sh", *map(str, figures), *argv]


class _Said(Thread):
    """Reads a stream to its end and keeps the beginning, however much comes."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(name="output", daemon=True)
        self._stream, self._kept = stream, bytearray()
        self.start()

    def run(self) -> None:
        """The thread's work."""
        with suppress(ValueError, OSError):  # closed, since the program was ended at its time limit
            while piece := os.read(self._stream.fileno(), _PIECE_BYTES):
                self._kept += piece[: _KEPT_BYTES - len(self._kept)]

    @property
    def text(self) -> str:
        """What has been kept."""
        return self._kept.decode(errors="replace").replace("\r\n", "\n")


def _end(
    child: subprocess.Popen[bytes], said: Sequence[_Said], deadline: Deadline, watch: Callable[[], None] | None
) -> int | None:
    """The exit status of a program that has ended and closed its streams, None when that is not so in time."""
    for stream in said:
        while stream.is_alive() and not deadline.expired:
            stream.join(min(_POLL_S, deadline.remaining_s))
            if watch:
                watch()
    if any(stream.is_alive() for stream in said):
        return None
    try:
        return child.wait(deadline.remaining_s)
    except subprocess.TimeoutExpired:
        return None


def describe_status(status: int | None) -> str:
    """An exit status in words: "exited with 1", "was killed by SIGKILL", "did not end in time"."""
    if status is None:
        return "did not end in time"
    if status >= 0:
        return f"exited with {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
