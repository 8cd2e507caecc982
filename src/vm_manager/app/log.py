"""What `vmctl log` shows: the logs of a VM, as they are and as they grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vm_manager.app.services import Services
from vm_manager.app.strays import require
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.state.layout import InstanceFiles
from vm_manager.state.log_reader import LogReader

_POLL_S = 0.25
# After so many looks without anything new an unfinished line is shown: a prompt, for example.
_LOOKS = 4


class Log(StrEnum):
    """The logs of a VM: of its serial console, of its provisioners, and of QEMU itself."""

    CONSOLE = "console"
    PROVISION = "provision"
    QEMU = "qemu"


@dataclass(frozen=True)
class LogLine:
    """A line of a log: a guest's text, not made harmless, and never much longer than 4 KiB."""

    log: Log
    text: str


@dataclass(frozen=True)
class Silence:
    """A log that has nothing in it so far."""

    log: Log


def read_logs(
    services: Services, name: str, logs: Sequence[Log], *, lines: int | None = None, follow: bool = False
) -> Iterator[LogLine | Silence]:
    """The lines of the logs, one log after the other; those without any are told of, and come later if they are followed.

    lines: of each log, the last ones only; None: all.
    follow: go on with what is added, until the VM is removed. Survives restarts, rotation and cuts.
    Raises: `vm::not_found`, `vmctl::interrupted`, `io`.
    """
    require(services, name)
    services.store.require_plain(name)
    files = services.store.files(name)
    with ExitStack() as stack, os_errors(files.home):
        readers = {log: stack.enter_context(closing(LogReader(_path(files, log), lines))) for log in logs}
        for log, reader in readers.items():
            nothing = not _has_content(_path(files, log))
            yield from (LogLine(log, text) for text in reader.read())
            if not follow:
                yield from (LogLine(log, text) for text in reader.rest())
            if nothing:
                yield Silence(log)
        if follow:
            yield from _follow(services, name, readers)


def _follow(services: Services, name: str, readers: dict[Log, LogReader]) -> Iterator[LogLine]:
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


def _path(files: InstanceFiles, log: Log) -> Path:
    return {Log.CONSOLE: files.console_log, Log.PROVISION: files.provision_log, Log.QEMU: files.qemu_log}[log]
