"""Powering a guest off: asked gently, then made to.

ACPI power button → QMP quit → SIGTERM → SIGKILL; each stage gets a share of what is left of the time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.migration import let_run
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.process import kill, process_handle, wait_for_exit
from vm_manager.backends.qemu.sockets import QMP_SOCKET
from vm_manager.backends.qemu.standstill import Standstill, standing, standstill
from vm_manager.diagnostics.errors import QemuError, QmpConnectFailed
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import EventSink, PhaseReached

_STAGES = (("quit", None), ("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL))
# A power button pressed while the guest is still booting is lost, so it is pressed again.
_PRESS_EVERY_S = 5.0
_FORCED_STAGE_S = 5.0
# Run states in which no guest is left that could react to the button.
_DEAD = ("guest-panicked", "internal-error")
# And those in which its vCPUs stand still, among them what an interrupted save or snapshot leaves behind.
_STANDING = ("paused", "postmigrate", "finish-migrate", "restore-vm", "save-vm")


def shut_down(home: Path, name: str, deadline: Deadline, emit: EventSink) -> None:
    """Power off; returns when QEMU has exited.

    Raises: `vmctl::interrupted`, leaving the guest as it is then; `qemu::qmp_connect_failed` for one that cannot run and whose
    guest was to be asked, or that does not end.
    """
    with process_handle(QemuFiles(home)) as handle:
        if handle is not None:
            power_off(home, name, handle, deadline, emit)


def power_off(home: Path, name: str, handle: int, deadline: Deadline, emit: EventSink) -> None:
    """Power off the QEMU behind a handle. home: where its sockets are, if they still are. Raises: as `shut_down`."""
    held = _let_go_on(home, name, handle, emit)
    if not deadline.expired:
        if held:
            force = f"to end it without asking the guest, as by a power cut: `vmctl stop {name} --timeout 0`"
            raise held.error().enrich(help=(held.help, force))
        if (home / QMP_SOCKET).exists():
            emit(PhaseReached(name, "power button", f"the guest to shut down, up to {deadline.remaining_s:.0f} s"))
            if _press_power_button(home, handle, deadline):
                return
    make_exit(home, name, handle, emit, deadline.cancel)


def make_exit(home: Path, name: str, handle: int, emit: EventSink, cancel: CancelToken | None = None) -> None:
    """Let QEMU quit, and make it when it does not. Raises: `vmctl::interrupted`, `qemu::qmp_connect_failed`."""
    for stage, signal_number in _stages(home):
        emit(PhaseReached(name, stage, f"QEMU to exit, up to {_FORCED_STAGE_S:.0f} s"))
        if signal_number is None:
            _quit(home)
        else:
            kill(handle, signal_number)
        if wait_for_exit(handle, Deadline(_FORCED_STAGE_S, cancel)):
            return
    _require_end(home)


def end_at_once(home: Path) -> None:
    """End QEMU without asking the guest; for a VM whose disk is about to be removed. Raises: `qemu::qmp_connect_failed`."""
    with process_handle(QemuFiles(home)) as handle:
        if handle is not None and not kill_and_wait(handle):
            _require_end(home)


def kill_and_wait(handle: int) -> bool:
    """End the QEMU behind a handle without asking anybody; whether it has ended."""
    kill(handle, signal.SIGKILL)
    return wait_for_exit(handle, Deadline(_FORCED_STAGE_S))


def _stages(home: Path) -> tuple[tuple[str, signal.Signals | None], ...]:
    """How QEMU is made to exit: what cannot run hears of the last only, and without its socket there is nobody to tell."""
    if standstill(home):
        return _STAGES[-1:]
    return _STAGES if (home / QMP_SOCKET).exists() else _STAGES[1:]


def _let_go_on(home: Path, name: str, handle: int, emit: EventSink) -> Standstill | None:
    """Continue a QEMU that was stopped by a signal: the guest cannot shut down otherwise. Returns what else holds it."""
    held = standstill(home)
    if held is None or not held.by_signal:
        return held
    emit(PhaseReached(name, "SIGCONT", "QEMU to run again: its process was stopped"))
    kill(handle, signal.SIGCONT)
    return None


def _require_end(home: Path) -> None:
    """Of who has sent SIGKILL: the kernel delivers it as soon as the process can run. One that is traced stays as a zombie.

    Raises: `qemu::qmp_connect_failed`.
    """
    if lock_owner(QemuFiles(home).pid) is not None:
        raise standing(home) or QmpConnectFailed(
            "QEMU has not ended {seconds} s after SIGKILL",
            {"seconds": round(_FORCED_STAGE_S)},
            help=("the kernel is still ending it, or it waits for a disk: try again",),
        )


@contextmanager
def ended_on_failure(home: Path) -> Iterator[None]:
    """End the QEMU that has been started for the block at once when that fails."""
    try:
        yield
    except BaseException:
        end_at_once(home)
        raise


def _press_power_button(home: Path, handle: int, deadline: Deadline) -> bool:
    try:
        with Monitor(home, connect_timeout_s=deadline.within(_PRESS_EVERY_S)) as monitor:
            status = monitor.run_state()
            if status in _DEAD:
                return False
            if status in _STANDING:
                let_run(monitor)
            while not deadline.expired:
                monitor.execute("system_powerdown")
                if wait_for_exit(handle, Deadline(deadline.within(_PRESS_EVERY_S), deadline.cancel)):
                    return True
    except QemuError:
        # A monitor that is silent because QEMU is just exiting is what we want; otherwise the next stage does it.
        return wait_for_exit(handle, Deadline(deadline.within(_PRESS_EVERY_S), deadline.cancel))
    return False


def _quit(home: Path) -> None:
    try:
        with Monitor(home, connect_timeout_s=_FORCED_STAGE_S) as monitor:
            monitor.execute("quit")
    except QemuError:
        return  # the signals follow
