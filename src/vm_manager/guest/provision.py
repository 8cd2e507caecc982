"""Provisioning: steps run in order over one connection, with live output, and stop at the first failure."""

from __future__ import annotations

import posixpath
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.diagnostics.errors import Interrupted, ProvisionFailed, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import EventSink, Noticed, Progressed, StepFinished, StepStarted
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest.aftermath import why_it_failed
from vm_manager.guest.findings import Failed, Finding
from vm_manager.guest.remote_scripts import (
    RUN,
    SAVE,
    Placement,
    directory_of,
    file_script,
    inline_script,
    place_directory,
    place_file,
    remove,
    run_content,
    run_in,
)
from vm_manager.guest.sources import directory_chunks, file_chunks, source_of
from vm_manager.guest.ssh import CommandResult, SshSession
from vm_manager.guest.step_output import ProvisionLog, Secrets, StepOutput

# An upload that takes no longer than this needs no bar.
_TELL_AFTER_S = 1.0
_TELL_EVERY_S = 0.25
_COMMAND_CHARS = 200
# A script of the user's may be long, and a guest slow; nothing is left to wait for when a directory is to be removed.
_SAVE_S, _REMOVE_S = 600.0, 60.0
# A busy guest was seen to answer after half a minute.
_UNANSWERED_S = 40.0
# Longer than what most steps take: a step that is given up then may be a server, which never ends.
_SERVER_S = 60.0
# A question without a line's end behind it, or apt's, which answers it itself; `read` without anything to read from.
_QUESTION = re.compile(r"[?:\]][ \t]*\Z|\[[Yy]/[Nn]\][^\n]*\n?\Z")
_READ = re.compile(r"(?:^|[;&]|\bthen\b|\bdo\b)\s*read\b[^<|\n;&]*(?:$|[|;&])", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """One run of provisioners in a guest.

    log: `provision.log` of the VM. require_alive: raises when the machine is gone. require_shell: when a login runs no commands.
    """

    name: str
    session: SshSession
    log: Path
    emit: EventSink
    deadline: Deadline
    require_alive: Callable[[], None]
    require_shell: Callable[[], None]
    shares: Sequence[Mount] = ()

    def run(self, all_steps: Sequence[Provisioner], chosen: Sequence[int], done: Callable[[int], None]) -> None:
        """Run the steps with these indexes; `done` is told each one's after it has succeeded.

        Raises: `provision::failed` with the step, its command, its status and its last lines; `ssh::failed` when the
        connection is lost, which is no failure of the command; `ssh::no_shell` when a step has changed what a login runs.
        """
        with ProvisionLog(self.log) as log:
            for position, index in enumerate(chosen):
                if position:
                    # The step before may have changed the user's shell, and one that ends at once would pass for success.
                    self.require_shell()
                step, number = all_steps[index], f"{index + 1}/{len(all_steps)}"
                doing = Done(Action.PROVISION, step=index + 1, steps=len(all_steps), title=step.title)
                self.emit(StepStarted(self.name, "provision", doing))
                log.line(f"=== step {number}: {step.title}")
                started_s = self.deadline.elapsed_s
                _Step(self, step, index + 1, log).run()
                done(index)
                elapsed_s = self.deadline.elapsed_s - started_s
                log.line(f"=== step {number}: succeeded in {elapsed_s:.1f} s")
                self.emit(StepFinished(self.name, "provision", replace(doing, elapsed_s=elapsed_s), elapsed_s))


class _Step:
    """One step while it runs."""

    def __init__(self, run: Provisioning, step: Provisioner, number: int, log: ProvisionLog) -> None:
        self._run, self._step, self._number, self._log = run, step, number, log
        self._secrets = Secrets(value for _, value in step.env)
        self._windows_endings = False
        self._output = StepOutput(run.name, run.emit, log, self._secrets)
        self._started = time.monotonic()
        self._programs: tuple[str, ...] = ()
        self._told_silence = False

    def run(self) -> None:
        """Run it. Raises: see `Provisioning.run`."""
        step, log = self._step, self._log
        try:
            if step.kind is ProvisionerKind.FILE:
                ended = self._put()
            elif step.script:
                ended = self._script(Path(step.script))
            else:
                ended = self._remote(RUN, [inline_script(step.inline or "", step.env).encode()])
        except VmError as error:
            log.line(f"=== step {self._number}: {self._secrets.hidden_in(str(error))}")
            if isinstance(error, Interrupted):
                raise self._stopped(error) from error.__cause__
            raise error.enrich(
                notes=(f"during provisioning step {self._number}: {self._command}",)
            ) from error.__cause__
        if ended.output_held_open:
            log.line("=== a background process still holds the output of the step open; not waiting for it")
        if ended.status != 0:
            raise self._failure(ended)

    def _script(self, script: Path) -> CommandResult:
        with os_errors(script):
            content = script.read_bytes()
        self._programs = _programs(content)
        self._windows_endings = b"\r\n" in content and b"\0" not in content
        directory = self._save(content)
        try:
            return self._remote(run_in(directory), [file_script(script.name, self._step.env).encode()])
        finally:
            self._remove(directory)

    def _put(self) -> CommandResult:
        """Send a file or directory, and have the guest put it into place once all of it has come."""
        step, source = self._step, source_of(Path(self._step.source or ""))
        destination = step.destination or ""
        if destination.endswith("/") and not source.is_directory:
            destination += source.path.name
        placement = Placement(destination=destination.rstrip("/") or "/", owner=step.owner)
        chunks: Iterable[bytes]
        if source.is_directory:
            script, chunks = place_directory(placement, source.size_bytes), directory_chunks(source.path, step.mode)
        else:
            mode = source.mode if step.mode is None else step.mode
            script = place_file(placement, source.size_bytes, mode)
            chunks = file_chunks(source.path, source.size_bytes)
        directory = self._save(script.encode())
        return self._remote(run_content(directory), self._told(chunks, source.size_bytes))

    def _told(self, chunks: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
        """Hand the chunks on, and tell how far a long upload has come."""
        sent, told = 0, time.monotonic() + _TELL_AFTER_S - _TELL_EVERY_S
        for chunk in chunks:
            yield chunk
            sent = min(size_bytes, sent + len(chunk))
            if time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                self._run.emit(Progressed(self._run.name, "upload", sent, size_bytes, "bytes"))

    def _save(self, content: bytes) -> str:
        deadline = Deadline(self._run.deadline.within(_SAVE_S), self._run.deadline.cancel)
        try:
            said = self._run.session.capture(SAVE, deadline, self._tick, [content])
        except TimeoutError as error:
            raise _not_saved(notes=(f"the guest had not finished after {round(_SAVE_S)} s",)) from error
        directory = directory_of(said.stdout)
        if said.status != 0 or directory is None:
            lines = (*said.stderr.splitlines()[-5:], *(("… output truncated …",) if said.cut else ()))
            if finding := self._finding(said.status or 0, said.stderr, lines):
                raise self._failed("could not be sent to the guest", {}, finding, notes=()).enrich(
                    evidence=(Evidence("guest", "the guest's output", lines), *finding.evidence)
                )
            raise _not_saved(*lines)
        return directory

    def _remove(self, directory: str) -> None:
        """Also after a failure; but when the connection is lost, that is what is to be told."""
        deadline = Deadline(self._run.deadline.within(_REMOVE_S), self._run.deadline.cancel)
        try:
            self._run.require_alive()  # a guest that has rebooted does not say that it knows the connection no more
            self._run.session.capture(remove(directory), deadline, self._run.require_alive)
        except (VmError, TimeoutError) as error:
            self._log.line(f"=== {directory} is left in the guest: {error}")

    def _remote(self, command: str, input: Iterable[bytes]) -> CommandResult:
        return self._run.session.run(command, self._output, self._run.deadline, self._tick, input)

    def _tick(self) -> None:
        self._log.look()
        self._tell_silence()
        self._run.require_alive()

    def _tell_silence(self) -> None:
        """Say once that nothing comes from the guest: a step may have cut its network, and vmctl waits on for a while."""
        session = self._run.session
        unanswered = session.silent_s > _UNANSWERED_S
        if unanswered and not self._told_silence:
            limit_s = round(session.silence_limit_s)
            text = f"the guest has not answered for {round(_UNANSWERED_S)} s; the connection counts as lost after {limit_s} s"
            self._run.emit(Noticed(self._run.name, text))
        self._told_silence = unanswered

    @property
    def _command(self) -> str:
        step = self._step
        if step.kind is ProvisionerKind.FILE:
            return f"put {step.source} to {step.destination}"
        text = " ".join(self._secrets.hidden_in(step.script or step.inline or "").split())
        return text if len(text) <= _COMMAND_CHARS else f"{text[:_COMMAND_CHARS]}…"

    def _stopped(self, error: Interrupted) -> Interrupted:
        """Add what was given up, and what to do about a step that may never have ended."""
        error.enrich(notes=(f"step {self._number} of VM '{self._run.name}' was still running: {self._command}",))
        if self._step.kind is ProvisionerKind.FILE or time.monotonic() - self._started <= _SERVER_S:
            return error
        server = "a step ends when its command does: to leave a server running, use `nohup … &` or a systemd unit"
        return error.enrich(help=(server, *error.diagnostic.help))

    def _failure(self, ended: CommandResult) -> ProvisionFailed:
        shown = self._output.evidence()
        finding = self._finding(ended.status, self._output.tail, shown.lines)
        notes = () if finding or ended.signal else _meaning(ended.status)
        if self._windows_endings:
            notes = (
                *notes,
                "the script has Windows line endings, which shells do not understand: save it with Unix ones",
            )
        if _asks(self._step.inline or "", self._output.tail, ended.status):
            notes = (*notes, "steps have no standard input to answer from")
        how, args = self._how(ended)
        error = self._failed(how, args, finding, notes=(f"command: {self._command}", *notes))
        error.enrich(evidence=(shown, *(finding.evidence if finding else ())))
        self._log.line(f"=== step {self._number}: {error}")
        return error

    def _how(self, ended: CommandResult) -> tuple[str, dict[str, str | int]]:
        if ended.signal:
            return "was killed by {signal}", {"signal": ended.signal, "status": ended.status}
        if self._step.kind is ProvisionerKind.FILE:
            return "could not write {destination} in the guest", {"destination": self._step.destination or ""}
        return "exited with {status}", {"status": ended.status}

    def _failed(
        self, how: str, args: Mapping[str, str | int], finding: Finding | None, *, notes: tuple[str, ...]
    ) -> ProvisionFailed:
        """The failure of this step. finding: what the guest lacks; None: the step itself is to be looked at."""
        on = f"run `vmctl up` to continue from step {self._number}"
        fix = (f"fix the step, then {on}", f"inspect the guest with `vmctl ssh {self._run.name}`")
        return ProvisionFailed(
            f"provisioning step {{number}} {how}{': {why}' if finding else ''}",
            {"number": self._number, **args, **({"why": finding.why} if finding else {})},
            help=(*finding.help, f"then {finding.then or on}") if finding else fix,
            notes=notes,
        )

    def _finding(self, status: int, said: str, last: Sequence[str]) -> Finding | None:
        """Why it failed, where it is plain. said: the end of what it printed; last: as lines, without secrets."""
        failed = Failed(
            name=self._run.name,
            step=self._step,
            status=status,
            said=said,
            last=last,
            elapsed_s=time.monotonic() - self._started,
            place=posixpath.dirname(self._step.destination) if self._step.destination else None,
            programs=self._programs,
            shares=self._run.shares,
        )
        return why_it_failed(self._run.session, failed, self._run.deadline)


def _programs(script: bytes) -> tuple[str, ...]:
    """What a script's first line needs: its interpreter, and what env(1) finds of its own."""
    first = script.split(b"\n", 1)[0].decode(errors="replace")
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    return tuple(words[:2] if words and posixpath.basename(words[0]) == "env" else words[:1])


def _not_saved(*said: str, notes: tuple[str, ...] = ()) -> ProvisionFailed:
    return ProvisionFailed(
        "could not create a temporary directory in the guest",
        help=("free up space in the guest's /tmp, and make it writable for the user",),
        notes=notes,
        evidence=(Evidence("guest", "the guest's output", said),) if said else (),
    )


def _asks(script: str, said: str, status: int) -> bool:
    """Whether a step seems to have failed of a question. said: the end of what it printed."""
    return bool(_QUESTION.search(said[-_COMMAND_CHARS:]) or (status == 1 and _READ.search(script)))


def _meaning(status: int) -> tuple[str, ...]:
    """What a status says by the conventions of shells. Source: POSIX, Shell Command Language, 2.8.2."""
    if status == 126:
        return ("status 126: the command was found in the guest, but is not executable",)
    if status == 127:
        return ("status 127: the command, or the interpreter in the script's first line, was not found in the guest",)
    try:
        return (f"status {status}: a command of the step was killed by {signal.Signals(status - 128).name}",)
    except ValueError:
        return ()
