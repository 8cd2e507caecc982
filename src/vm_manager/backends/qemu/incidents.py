"""What befell a machine while nobody watched: found in what QEMU, the host and its kernel have left behind."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from vm_manager.backends.qemu.evidence import qemu_log
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.history import in_words, read_history
from vm_manager.backends.qemu.screen import read_screen
from vm_manager.backends.qemu.standstill import standstill
from vm_manager.diagnostics.errors import GuestPanicked, QemuExited, QemuInternalError, QemuIoError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import free_space_help
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Incident
from vm_manager.host.console_log import panic_evidence, panic_lines, reason_of_panic
from vm_manager.host.disk_space import free_bytes
from vm_manager.host.facts import booted_at
from vm_manager.host.kernel_log import out_of_memory_kill
from vm_manager.host.process import describe_status
from vm_manager.host.text import quoted_log

_MIB = 1024 * 1024
_KEEPER_S = 2.0


def living_incident(name: str, files: QemuFiles) -> Incident | None:
    """Why QEMU, which lives, has stopped the machine by itself; None when it has not."""
    history = read_history(files.events_log)
    match history.state:
        case "guest-panicked":
            return Incident(_iso(history.since), _panicked(name, files))
        case "io-error":
            return Incident(_iso(history.since), _io_error(name, files))
        case "internal-error" | "watchdog" | "debug" | "colo":
            stopped = QemuInternalError(
                "QEMU stopped the machine ({state})",
                {"state": history.state},
                help=(
                    f"`vmctl restart {name}` reboots it; until then the machine is kept for inspection",
                    f"if QEMU's log points to KVM, run it without: `vmctl restart {name} --accel tcg`",
                ),
                evidence=log_evidence(files),
            )
            return Incident(_iso(history.since), stopped)
    return None


def held_up(home: Path) -> Incident | None:
    """Why the process of a QEMU, which lives, cannot run; None when it can."""
    held = standstill(home)
    return Incident(_iso(time.time()), held.error(), passing=True) if held else None


def _panicked(name: str, files: QemuFiles) -> GuestPanicked:
    evidence = panic_evidence(files.console_log) or _panic_on_screen(files)
    reason, advice = reason_of_panic(evidence[0].lines if evidence else ())
    return GuestPanicked(
        "the guest's kernel panicked{why}",
        {"why": reason},
        help=(
            *((advice,) if advice else ()),
            f"`vmctl restart {name}` reboots it; until then the machine is kept for inspection",
        ),
        evidence=evidence,
    )


def _panic_on_screen(files: QemuFiles) -> tuple[Evidence, ...]:
    """Of kernels without a serial console."""
    lines = panic_lines("\n".join(read_screen(files.home)))
    return (Evidence("screen", "the guest's screen", lines),) if lines else ()


def ending(name: str, files: QemuFiles, status: int | None = None) -> Incident | None:
    """How QEMU, which is gone, ended; None when its guest powered itself off, or it was asked to end by its monitor.

    status: its exit status, where this process was its parent.
    """
    history = read_history(files.events_log)
    logs = log_evidence(files)
    if history.ended_by_signal and history.ended is not None:
        error = QemuExited(
            "QEMU was killed by a signal",
            help=(f"QEMU's log names the sender; `vmctl start {name}` boots the VM again",),
            evidence=logs,
        )
        return Incident(_iso(history.ended), error)
    if history.ended is not None:
        return None
    return _vanished(name, files, logs, status)


def exited(name: str, files: QemuFiles, status: int | None) -> QemuExited:
    """The failure of whoever waited for a machine that is gone. status: see `ending`."""
    if read_history(files.events_log).ended_by_guest:
        return QemuExited(
            "the guest powered itself off",
            help=(f"its console shows why; `vmctl start {name}` boots it again",),
            evidence=log_evidence(files),
        )
    _await_end_seen(files)
    found = ending(name, files, status)
    if found and isinstance(found.error, QemuExited):
        return found.error
    return QemuExited("QEMU was told to quit through its monitor", evidence=log_evidence(files))


def log_evidence(files: QemuFiles) -> tuple[Evidence, ...]:
    """The ends of QEMU's log and of the guest's console."""
    console = quoted_log(files.console_log, kind="console", title="the guest's console")
    return (*qemu_log(files), *((console,) if console else ()))


def _io_error(name: str, files: QemuFiles) -> QemuIoError:
    free = free_bytes(files.home)
    looked = f"when vmctl looked, {in_words(time.time())}"
    space = (
        f"{free // _MIB} MiB were free where the VM's disk is {looked}"
        if free is not None
        else "the free space of the disk is unknown"
    )
    return QemuIoError(
        "the guest is paused: its disk could not be written or read",
        help=(f"{free_space_help(files.home)}, then `vmctl resume {name}`",),
        evidence=(Evidence("probe", "this host", (space,)),),
    )


def _vanished(name: str, files: QemuFiles, logs: tuple[Evidence, ...], status: int | None) -> Incident:
    """Without a word: only its exit status, what saw it end, what it last wrote, and what the kernel says tell anything."""
    killed, kernel = _killed_by_kernel(files)
    if killed is not None:
        error = QemuExited(
            "the kernel killed QEMU because memory ran out",
            help=(f"free memory on this host, or give the VM less, then `vmctl start {name}`",),
            evidence=(*kernel, *logs),
        )
        return Incident(_iso(killed), error)
    seen, last = _end_seen(files), _last_sign(files)
    if status is not None or seen is not None:
        ended = seen if seen is not None else last
        error = QemuExited(
            "QEMU {how} at {when}",
            {
                "how": "vanished" if status is None else describe_status(status),
                "when": in_words(ended),
                "status": status or 0,
            },
            help=(f"{_by_whom(status)}; `vmctl start {name}` boots the VM again",),
            evidence=(*kernel, *logs),
        )
        return Incident(_iso(ended), error)
    booted = booted_at()
    with_host = booted is not None and booted > last
    error = QemuExited(
        "QEMU vanished between {last} and {until}",
        {"last": in_words(last), "until": in_words(booted if booted is not None and with_host else time.time())},
        help=(f"`vmctl start {name}` boots the VM again",),
        notes=("this host was rebooted at that time",) if with_host else (),
        evidence=(*kernel, *logs),
    )
    return Incident(_iso(last), error)


def _by_whom(status: int | None) -> str:
    match status:
        case None:
            return "it was killed or crashed without an error message"
        case -9:  # SIGKILL
            return "somebody killed it, which leaves no trace: QEMU could not even write its log"
    return "its log ends with the reason, if it had time to write one"


def _await_end_seen(files: QemuFiles) -> None:
    """Whoever watches a QEMU may see its end a moment before its keeper does."""
    deadline = Deadline(_KEEPER_S)
    while _end_seen(files) is None and not deadline.expired:
        deadline.pause(0.05)


def _end_seen(files: QemuFiles) -> float | None:
    """When its keeper saw QEMU end; None when that was killed, too."""
    try:
        return float(files.end.read_text())
    except (OSError, ValueError):
        return None


def _killed_by_kernel(files: QemuFiles) -> tuple[float | None, tuple[Evidence, ...]]:
    try:
        # QEMU that is killed leaves its pid file behind.
        pid, started = int(files.pid.read_text()), files.pid.stat().st_mtime
    except (OSError, ValueError):
        return None, ()
    try:
        found = out_of_memory_kill(pid, started)
    except OSError as error:
        return None, (Evidence("kernel_log", "the kernel's log", error=error.strerror),)
    if found is None:
        return None, ()
    return found[0], (Evidence("kernel_log", "the kernel's log", (found[1],)),)


def _last_sign(files: QemuFiles) -> float:
    """When QEMU is known to have lived last: it writes to these, and nobody else does while the machine is off."""
    return max(_mtime(path) for path in (files.overlay, files.console_log, files.qemu_log, files.events_log))


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
