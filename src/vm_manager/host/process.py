"""Running programs to their end, with everything that a failure needs to be explained."""

from __future__ import annotations

import logging
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence
from vm_manager.host.environment import clean_environment
from vm_manager.host.sandbox import Sandbox, spawn

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


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: str = "",
    sandbox: Sandbox | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program, with nothing but `stdin` to read, and return what it wrote.

    sandbox: what it may do; None: all that the user may. env: what it sees of the environment; default: what every program needs.
    Raises: `ProcessFailed` for any end but exit status 0; `host::no_sandbox`; `OSError` when it cannot be executed.
    """
    _log.info("$ %s", shlex.join(argv))
    environment = clean_environment() if env is None else env
    with spawn(
        argv,
        sandbox,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ProcessFailed(Finished(tuple(argv), None, "", _text(error.stderr))) from None
        except BaseException:
            process.kill()
            raise
    finished = Finished(tuple(argv), process.returncode, stdout, stderr)
    if process.returncode != 0:
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
