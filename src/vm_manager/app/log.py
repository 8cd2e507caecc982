"""What `vmctl log` shows: the logs of a VM, as they are and as they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vm_manager.app.services import Services
from vm_manager.app.strays import require
from vm_manager.diagnostics.errors import BackendNotAvailable
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.state.log_reader import LogReader

_POLL_S = 0.25
# After so many looks without anything new an unfinished line is shown: a prompt, for example.
_LOOKS = 4


class Log(StrEnum):
    """The logs that every VM has: of its serial console, and of its provisioners. Its backend has others, such as `qemu`."""

    CONSOLE = "console"
    PROVISION = "provision"


@dataclass(frozen=True)
class LogLine:
    """A line of a log: a guest's text, not made harmless, and never much longer than 4 KiB."""

    log: str
    text: str


@dataclass(frozen=True)
class Silence:
    """A log that has nothing in it so far."""

    log: str


def read_logs(
    services: Services, name: str, logs: Sequence[str], *, lines: int | None = None, follow: bool = False
) -> Iterator[LogLine | Silence]:
    """The lines of the logs, one log after the other; those without any are told of, and come later if they are followed.

    lines: of each log, the last ones only; None: all.
    follow: go on with what is added, until the VM is removed. Survives restarts, rotation and cuts.
    Raises: `vm::not_found`, `backend::not_available` for a log that its backend does not have, `vmctl::interrupted`, `io`.
    """
    require(services, name)
    services.store.require_plain(name)
    paths = _paths(services, name, logs)
    with ExitStack() as stack, os_errors(services.home(name)):
        readers = {log: stack.enter_context(closing(LogReader(path, lines))) for log, path in paths.items()}
        for log, reader in readers.items():
            nothing = not _has_content(paths[log])
            yield from (LogLine(log, text) for text in reader.read())
            if not follow:
                yield from (LogLine(log, text) for text in reader.rest())
            if nothing:
                yield Silence(log)
        if follow:
            yield from _follow(services, name, readers)


def _follow(services: Services, name: str, readers: dict[str, LogReader]) -> Iterator[LogLine]:
    silent = dict.fromkeys(readers, 0)
    while services.store.exists(name):
        for log, reader in readers.items():
            before = reader.bytes_read
            fresh = [LogLine(log, text) for text in reader.read()]
            silent[log] = silent[log] + 1 if reader.bytes_read == before else 0
            if silent[log] == _LOOKS:
                fresh = [LogLine(log, text) for text in reader.rest()]
            yield from fresh
        services.cancel.wait(_POLL_S)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _paths(services: Services, name: str, logs: Sequence[str]) -> dict[str, Path]:
    files = services.store.files(name)
    known: dict[str, Path] = {Log.CONSOLE: files.console_log, Log.PROVISION: files.provision_log}
    if not known.keys() >= set(logs):
        # Also those of a VM whose record is damaged.
        known |= services.remnant(name).logs()
    for log in logs:
        if log not in known:
            raise BackendNotAvailable(
                "VM '{name}' has no {log} log",
                {"name": name, "log": log},
                help=(f"it has these logs: {', '.join(known)}",),
                subject=services.subject(name),
            )
    return {log: known[log] for log in logs}
