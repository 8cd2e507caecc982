"""What QEMU wrote down of a machine's life while nobody need have listened: how its state changed, and when.

Sources: QEMU's trace events `runstate_set`, `qemu_system_shutdown_request` and `qemu_system_powerdown_request`
(softmmu/trace-events) and `monitor_protocol_event_emit` (monitor/trace-events), with the time in front by `-msg
timestamp=on`; RunState and ShutdownCause in qapi/run-state.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from time import gmtime, strftime

#: For `-trace`, all into one file.
TRACED = (
    "runstate_set",
    "qemu_system_shutdown_request",
    "qemu_system_powerdown_request",
    "monitor_protocol_event_emit",
)

# A guest can make events: the newest of them decide.
_READ_BYTES = 256 * 1024
_LINE = re.compile(rb"^\d+@(\d+\.\d+):(\w+)(.*)$", re.MULTILINE)
_NEW_STATE = re.compile(rb"new_state \d+ \(([\w-]+)\)")
_NUMBER = re.compile(rb"(?:reason|event)=(\d+)")
# QAPIEvent is numbered in the schema's order, which begins with SHUTDOWN, POWERDOWN, RESET.
_RESET_EVENT = 2
# A restart may be announced twice, by the guest's own reset and by the firmware's.
_ONE_RESTART_S = 1.0
# ShutdownCause.
_GUEST_SHUTDOWN = 6


@dataclass(frozen=True)
class History:
    """Times are seconds since the epoch.

    state: QEMU's RunState, and since when; None when nothing is known.
    asked_to_power_off: whether the power button was pressed.
    ended: when the machine ended in good order, and by whose request (a ShutdownCause); a signal to QEMU makes none.
    resets: how often the guest restarted, and when it did last.
    """

    state: str | None = None
    since: float = 0.0
    asked_to_power_off: bool = False
    ended: float | None = None
    cause: int | None = None
    resets: int = 0
    last_reset: float = 0.0

    @property
    def ended_by_guest(self) -> bool:
        """Whether the guest powered itself off, unasked."""
        return self.ended is not None and self.cause == _GUEST_SHUTDOWN and not self.asked_to_power_off

    @property
    def ended_by_signal(self) -> bool:
        """Whether QEMU ended in good order because it got a signal."""
        return self.ended is not None and self.cause is None


def read_history(events_log: Path) -> History:
    """What the log tells; nothing when it cannot be read. Cheap as long as nothing has happened."""
    try:
        status = events_log.stat()
        return _read(events_log, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return History()


def own_end(events_log: Path) -> str | None:
    """When the guest powered itself off without being asked; None when that is not how it ended."""
    history = read_history(events_log)
    if not history.ended_by_guest or history.ended is None:
        return None
    return f"the guest powered itself off at {in_words(history.ended)}"


def in_words(seconds: float) -> str:
    """A time for people."""
    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(seconds))


@lru_cache(maxsize=64)
def _read(events_log: Path, inode: int, size: int, mtime_ns: int) -> History:
    with events_log.open("rb") as file:
        file.seek(max(0, size - _READ_BYTES))
        data = file.read(_READ_BYTES)
    history = History()
    for time, event, rest in _LINE.findall(data):
        history = _after(history, float(time), event, rest)
    return history


def _after(history: History, time: float, event: bytes, rest: bytes) -> History:
    number = _NUMBER.search(rest)
    match event:
        case b"runstate_set":
            return _entered(history, time, rest)
        case b"qemu_system_powerdown_request":
            return replace(history, asked_to_power_off=True)
        case b"qemu_system_shutdown_request":
            return replace(history, ended=time, cause=int(number[1])) if number else history
        case b"monitor_protocol_event_emit" if number and int(number[1]) == _RESET_EVENT:
            if time - history.last_reset >= _ONE_RESTART_S:
                return replace(history, resets=history.resets + 1, last_reset=time)
    return history


def _entered(history: History, time: float, rest: bytes) -> History:
    found = _NEW_STATE.search(rest)
    if not found:
        return history
    state = found[1].decode()
    ended = (history.ended or time) if state == "shutdown" else history.ended
    return replace(history, state=state, since=time, ended=ended)
