"""Waiting for cloud-init, and holding it to account: what it could not do is a failure or a warning, and never passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.errors import CloudInitFailed, VmError
from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence, Label
from vm_manager.diagnostics.redact import redact_lines
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.spec import OnError
from vm_manager.guest.cloud_init_report import WAIT_SCRIPT, Outcome, Report, read_report
from vm_manager.guest.ssh import Captured, SshSession

_ERROR_LINES = 20
_LOG_LINES = 15
_LOG_S = 60.0
_MODULES = 10
# Without the tables of addresses and keys, which come last and would push out what matters.
_OUTPUT_LOG = (
    'sh -c \'log=/var/log/cloud-init-output.log; run=; test -r $log || run="sudo -n"; '
    '$run grep -v "^ci-info:" $log | tail -c 65536\''
)


@dataclass(frozen=True)
class CloudInitWatch:
    """on_error: what a failure is.

    locate: these keys in the user-data, where that is vmctl's to know, by what cloud-init's modules printed.
    known: the guest has been ready before: one that does without cloud-init has been told of then.
    """

    on_error: OnError
    locate: Callable[[Sequence[str], str], tuple[Label, ...]]
    known: bool = False


def await_cloud_init(
    session: SshSession,
    watch: CloudInitWatch,
    deadline: Deadline,
    tick: Callable[[], None],
    warn: Callable[[VmError], None],
) -> None:
    """Return when cloud-init is done.

    tick: called while it waits. warn: told what stops nothing.
    Raises: `cloudinit::failed`, `ssh::failed`, `TimeoutError` at the deadline.
    """
    said = session.capture("sh", deadline, tick, [WAIT_SCRIPT.encode()])
    report = read_report(said.stdout)
    missing = said.status == 127
    if missing or report.outcome is Outcome.DISABLED:
        if not watch.known:
            lacks = "not installed" if missing else "disabled"
            warn(_unused(f"cloud-init is {lacks} in the guest, so the seed was not applied"))
        return
    failure = _endless() if said.cut else _failure(report)
    if report.warnings:
        warn(_warning(report))
    if failure is None:
        return
    printed = _output_log(session, deadline, tick)
    failure.enrich(labels=watch.locate(report.keys, printed.stdout), evidence=_quoted(printed))
    if watch.on_error is OnError.FAIL:
        raise failure
    warn(failure)


def _output_log(session: SshSession, deadline: Deadline, tick: Callable[[], None]) -> Captured:
    """The end of what cloud-init's modules printed; nothing when the guest does not give it out in time."""
    try:
        return session.capture(_OUTPUT_LOG, Deadline(deadline.within(_LOG_S), deadline.cancel), tick)
    except TimeoutError:
        return Captured(None, "", "")


def _quoted(said: Captured) -> tuple[Evidence, ...]:
    lines = excerpt(redact_lines(said.stdout.splitlines()), _LOG_LINES)
    return (Evidence("cloud_init", "/var/log/cloud-init-output.log", lines, truncated=said.cut),) if lines else ()


def _endless() -> CloudInitFailed:
    return CloudInitFailed(
        "the guest's cloud-init report is too long and was truncated",
        help=("run `cloud-init status --long` in the guest: it does not print a regular cloud-init report",),
    )


def _failure(report: Report) -> CloudInitFailed | None:
    evidence = _evidence(report.errors)
    match report.outcome:
        case Outcome.NO_SEED:
            return _seed_not_found(evidence)
        case Outcome.DIED | Outcome.UNREADABLE:
            return CloudInitFailed("cloud-init exited in the guest without a result", evidence=evidence)
    if not report.errors:
        return None
    if not report.modules:
        return CloudInitFailed("cloud-init finished with errors in the guest", evidence=evidence)
    more = ("…",) if len(report.modules) > _MODULES else ()
    modules = ", ".join((*report.modules[:_MODULES], *more))
    return CloudInitFailed("cloud-init failed in the guest: {modules}", {"modules": modules}, evidence=evidence)


def seed_not_found(line: str) -> CloudInitFailed:
    """The failure of a guest whose console says it. line: in which it does."""
    return _seed_not_found((Evidence("console", "the guest's console", (line,)),))


def _seed_not_found(evidence: tuple[Evidence, ...]) -> CloudInitFailed:
    return CloudInitFailed(
        "cloud-init did not find its seed in the guest",
        help=(
            "the image needs NoCloud in cloud-init's datasource_list, and a kernel that supports virtio-scsi CD-ROMs",
        ),
        evidence=evidence,
    )


def _warning(report: Report) -> CloudInitFailed:
    return CloudInitFailed(
        "cloud-init had recoverable errors in the guest",
        help=("run `cloud-init status --long` in the guest, and fix the user-data if it is the cause",),
        evidence=_evidence(report.warnings),
    )


def _unused(message: str) -> CloudInitFailed:
    return CloudInitFailed(
        message, help=("no action needed if that is intended: the guest is ready once a login works",)
    )


def _evidence(texts: Sequence[str]) -> tuple[Evidence, ...]:
    lines = [line for text in texts for line in text.splitlines()]
    if not lines:
        return ()
    return (Evidence("cloud_init", "cloud-init status", tuple(lines[:_ERROR_LINES]), None, len(lines) > _ERROR_LINES),)
