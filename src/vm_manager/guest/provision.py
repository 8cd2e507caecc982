"""Provisioning: steps run in order over one connection, with live output, and stop at the first failure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from vm_manager.diagnostics.errors import ProvisionFailed, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import EventSink, GuestOutput, StepFinished, StepStarted, Stream
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest.ssh import SshSession
from vm_manager.state.files import private
from vm_manager.state.log_rotation import CAP_BYTES, rotate

_TAIL_LINES = 10
_TAIL_CHARS = 4096
_WORK_DIR = "/tmp/vmctl.XXXXXXXXXX"


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """One run of provisioners in a guest.

    log: `provision.log` of the VM. require_alive: raises when the machine is gone.
    """

    name: str
    session: SshSession
    log: Path
    emit: EventSink
    deadline: Deadline
    require_alive: Callable[[], None]

    def run(self, steps: Sequence[Provisioner], first: int, done: Callable[[int], None]) -> None:
        """Run the steps from index `first` on; `done` is told the number of steps that have succeeded after each.

        Raises: `provision::failed` with the step, its command, its status and its last lines; `ssh::failed` when the
        connection is lost, which is no failure of the command.
        """
        with _Log(self.log) as log:
            for index in range(first, len(steps)):
                number = f"{index + 1}/{len(steps)}"
                title = steps[index].title
                self.emit(StepStarted(self.name, "provision", f"step {number}: {title}"))
                log.line(f"=== step {number}: {title}")
                started_s = self.deadline.elapsed_s
                self._step(steps[index], index + 1, log)
                done(index + 1)
                elapsed_s = self.deadline.elapsed_s - started_s
                log.line(f"=== step {number}: succeeded in {elapsed_s:.1f} s")
                self.emit(StepFinished(self.name, "provision", f"step {number} succeeded", elapsed_s))

    def _step(self, step: Provisioner, number: int, log: _Log) -> None:
        heard = _Heard(self.name, self.emit, log)
        try:
            if step.kind is ProvisionerKind.FILE:
                status, command = self._put_file(step, heard)
            elif step.script:
                status, command = self._run_script(Path(step.script), heard)
            else:
                command = step.inline or ""
                status = self._remote(command, heard)
        except VmError as error:
            log.line(f"=== step {number}: {error}")
            raise error.enrich(notes=(f"during provisioning step {number}: {step.title}",)) from error.__cause__
        if status != 0:
            how = f"exited with {status}" if status > 0 else "was ended by a signal"
            log.line(f"=== step {number}: {how}")
            raise ProvisionFailed(
                "provisioning step {number} {how}",
                {"number": number, "how": how},
                help=(
                    f"correct the step, then `vmctl up` goes on from step {number}",
                    f"look around in the guest: `vmctl ssh {self.name}`",
                ),
                notes=(f"command: {command}",),
                evidence=(heard.evidence(self.log),),
            )

    def _remote(self, command: str, heard: _Heard) -> int:
        return self.session.run(command, heard, self.deadline, self.require_alive)

    def _run_script(self, script: Path, heard: _Heard) -> tuple[int, str]:
        with _WorkDirectory(self) as directory:
            remote = f"{directory}/{script.name}"
            self._upload(script, remote, 0o700)
            return self._remote(shlex.quote(remote), heard), str(script)

    def _put_file(self, step: Provisioner, heard: _Heard) -> tuple[int, str]:
        """Upload beside nothing, then move into place in one step, through sudo where the user may not write."""
        source, destination = Path(step.source or ""), step.destination or ""
        with os_errors(source):
            mode = source.stat().st_mode & 0o777
        with _WorkDirectory(self) as directory:
            self._upload(source, f"{directory}/file", mode)
            script = _INSTALL.format(
                source=shlex.quote(f"{directory}/file"), destination=shlex.quote(destination), mode=f"{mode:o}"
            )
            return self._remote(f"sh -c {shlex.quote(script)}", heard), f"put {source} to {destination}"

    def _upload(self, source: Path, remote: str, mode: int) -> None:
        with os_errors(source), source.open("rb") as file:
            try:
                self.session.upload(file, remote, mode)
            except OSError as error:
                raise ProvisionFailed("{path} could not be written in the guest", {"path": remote}) from error


# cp(1) goes to the destination's directory; mv(1) within one directory is rename(2), so nobody sees half a file. In words
# that the smallest of guests knows: BusyBox may come without install(1).
_INSTALL = """
destination={destination}
directory=$(dirname -- "$destination")
run=
if ! mkdir -p -- "$directory" 2>/dev/null || ! [ -w "$directory" ]; then run='sudo -n'; $run mkdir -p -- "$directory" || exit; fi
if [ -d "$destination" ]; then echo "$destination is a directory" >&2; exit 1; fi
new=$destination.vmctl-new
$run cp -- {source} "$new" && $run chmod {mode} "$new" && $run mv -f -- "$new" "$destination"
"""


class _WorkDirectory:
    """A fresh directory in the guest that only the user may enter, gone afterwards."""

    def __init__(self, provisioning: Provisioning) -> None:
        self._session, self._deadline = provisioning.session, provisioning.deadline

    def __enter__(self) -> str:
        status, path, stderr = self._session.capture(f"umask 077 && mktemp -d {_WORK_DIR}", self._deadline)
        if status != 0:
            said = Evidence("guest", "mktemp", tuple(stderr.splitlines()))
            raise ProvisionFailed("no temporary directory could be made in the guest", evidence=(said,))
        self._path = path.strip()
        return self._path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._session.capture(f"rm -rf -- {shlex.quote(self._path)}", self._deadline)


class _Heard:
    """What a step says: passed on, logged, and its end kept for the diagnostic."""

    def __init__(self, name: str, emit: EventSink, log: _Log) -> None:
        self._name, self._emit, self._log, self._tail = name, emit, log, ""

    def __call__(self, stream: Stream, text: str) -> None:
        self._emit(GuestOutput(self._name, stream, text))
        self._log.text(stream, text)
        self._tail = (self._tail + text)[-_TAIL_CHARS:]

    def evidence(self, log: Path) -> Evidence:
        lines = self._tail.splitlines()
        return Evidence(
            "provision", "the step's last lines", tuple(lines[-_TAIL_LINES:]), str(log), len(lines) > _TAIL_LINES
        )


class _Log:
    """`provision.log`: every line with its time and stream."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._open()
        self._partial = {Stream.STDOUT: "", Stream.STDERR: ""}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._flush_partial()
        self._file.close()

    def _open(self) -> None:
        with os_errors(self._path):
            self._file: IO[str] = open(self._path, "a", encoding="utf-8", opener=private)  # noqa: SIM115
            self._size = self._path.stat().st_size

    def line(self, text: str) -> None:
        """Write a line of vmctl's own."""
        self._flush_partial()
        self._write(text)

    def text(self, stream: Stream, text: str) -> None:
        """Write what a step said, line by line."""
        *lines, self._partial[stream] = (self._partial[stream] + text).split("\n")
        for line in lines:
            self._write(f"{stream}: {line}")

    def _flush_partial(self) -> None:
        for stream, rest in self._partial.items():
            if rest:
                self._write(f"{stream}: {rest}")
            self._partial[stream] = ""

    def _write(self, text: str) -> None:
        if self._size > CAP_BYTES:
            self._file.close()
            with os_errors(self._path):
                rotate(str(self._path))
            self._open()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._size += self._file.write(f"{now} {text}\n")
        self._file.flush()
