"""Running programs to their end, with everything that a failure needs to be explained."""

from __future__ import annotations

import logging
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence

_log = logging.getLogger(__name__)

_QUOTED_LINES = 12


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


def run(argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Finished:
    """Run a program, with nothing but `stdin` to read, and return what it wrote.

    Raises: `ProcessFailed` for any end but exit status 0; `OSError` when it cannot be executed.
    """
    _log.info("$ %s", shlex.join(argv))
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessFailed(Finished(tuple(argv), None, "", _text(error.stderr))) from None
    finished = Finished(tuple(argv), done.returncode, done.stdout, done.stderr)
    if done.returncode != 0:
        raise ProcessFailed(finished)
    return finished


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


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
