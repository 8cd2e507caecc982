"""Waiting for a migration of QEMU's to end, be it to a file or from one: by its events, and as long as bytes move.

Source: QEMU's QAPI, `migrate`, `query-migrate`, `MIGRATION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vm_manager.backends.qemu.monitor import Monitor, NextEvent
from vm_manager.backends.qemu.process import wait_for_exit
from vm_manager.backends.qemu.query import look_up
from vm_manager.diagnostics.errors import MigrationFailed, QmpConnectFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken, Deadline

EVENT = "MIGRATION"

# No byte has moved for so long: that is no slow disk any more.
_STALLED_S = 60
_LOOK_EVERY_S = 0.2
_CANCEL_S = 30.0
_UNLIMITED = 2**50
_UNDER_WAY = ("setup", "active", "device", "pre-switchover", "postcopy-active", "wait-unplug", "cancelling")
_ENDED = ("completed", "failed", "cancelled")

#: Is told the bytes that have been moved, and of how many, where that is known.
Moved = Callable[[int, int | None], None]


def announce(monitor: Monitor, *, live: bool = False) -> None:
    """Have the migration announced by events, and not throttled: by default it gets what a network of 1 Gbit/s takes.

    live: the machine may run meanwhile. A guest that writes faster than can be moved is slowed down until it does not; and the
    migration waits once the vCPUs stand still and all that remains is their state.
    """
    states = {"events": True, "auto-converge": live, "pause-before-switchover": live}
    capabilities = [{"capability": name, "state": state} for name, state in states.items()]
    monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
    monitor.execute("migrate-set-parameters", {"max-bandwidth": _UNLIMITED})


def follow_outgoing(
    monitor: Monitor,
    next_event: NextEvent,
    cancel: CancelToken,
    moved: Moved,
    *,
    until: str = "completed",
    failed: str = "QEMU could not write the machine's state",
) -> None:
    """Return when the migration has completed, or has come to another status; also one that comes in, when it answers meanwhile.

    until: a MigrationStatus. failed: what is said when it does not get there.
    Raises: `qemu::migration_failed`, `qemu::qmp_connect_failed`, `vmctl::interrupted`; the migration may then still be
    under way.
    """
    stall = Stall(cancel)
    while True:
        info = _query(monitor)
        status, memory = info.get("status"), info.get("ram")
        if status == until:
            return
        if status in _ENDED:
            raise MigrationFailed(failed, evidence=_error(info))
        memory = memory if isinstance(memory, dict) else {}
        total, remaining = _number(memory, "total"), _number(memory, "remaining")
        moved(total - remaining, total)
        stall.look((_number(memory, "transferred"), remaining))
        next_event(_LOOK_EVERY_S)


def follow_incoming(
    monitor: Monitor,
    next_event: NextEvent,
    home: Path,
    handle: int,
    cancel: CancelToken,
    read_bytes: Callable[[], int],
    moved: Moved,
) -> None:
    """Return when the state has been loaded.

    While it loads QEMU answers no command, so its events are listened to, and its process is looked at.
    home: the VM's directory. handle: QEMU's process. read_bytes: how far it has read.
    Raises: `qemu::migration_failed`, `qemu::qmp_connect_failed`, `vmctl::interrupted`.
    """
    stall = Stall(cancel)
    while True:
        event = next_event(_LOOK_EVERY_S)
        # An event that got lost would be waited for in vain: as soon as QEMU answers again, it is asked, too.
        data = event.get("data") if event else look_up(home, "query-migrate")
        status = data.get("status") if isinstance(data, dict) else None
        if status == "completed":
            return
        if status == "failed" or wait_for_exit(handle, Deadline(0)):
            raise MigrationFailed("QEMU could not load the saved state", evidence=_last_error(monitor))
        moved(read_bytes(), None)
        stall.look(read_bytes())


def abandon_migration(monitor: Monitor) -> None:
    """Cancel a migration that nobody waits for any more; returns when there is none under way."""
    deadline = Deadline(_CANCEL_S)
    if _query(monitor).get("status") not in _UNDER_WAY:
        return
    monitor.execute("migrate_cancel")
    while _query(monitor).get("status") in _UNDER_WAY and not deadline.expired:
        deadline.pause(0.05)


class Stall:
    """Raises when what it is shown has not changed for too long: limit_s, in seconds."""

    def __init__(self, cancel: CancelToken, limit_s: float = _STALLED_S) -> None:
        self._cancel, self._limit_s = cancel, limit_s
        self._last: object = None
        self._deadline = Deadline(limit_s, cancel)

    def look(self, figure: object) -> None:
        """Raises: `qemu::migration_failed`."""
        if figure != self._last:
            self._last, self._deadline = figure, Deadline(self._limit_s, self._cancel)
        if self._deadline.expired:
            raise MigrationFailed(
                "nothing has moved for {seconds} s",
                {"seconds": f"{self._limit_s:g}"},
                help=("look whether the host's disk still answers",),
                timeout_s=self._limit_s,
            )


def _query(monitor: Monitor) -> Mapping[str, object]:
    info = monitor.execute("query-migrate")
    return info if isinstance(info, dict) else {}


def _number(figures: Mapping[str, object], name: str) -> int:
    value = figures.get(name)
    return value if isinstance(value, int) else 0


def _error(info: Mapping[str, object]) -> tuple[Evidence, ...]:
    text = info.get("error-desc")
    return (Evidence("qmp", "QEMU's reason", (str(text),)),) if text else ()


def _last_error(monitor: Monitor) -> tuple[Evidence, ...]:
    """What QEMU says of a load that failed; mostly it has exited, and its log has the reason."""
    try:
        return _error(_query(monitor))
    except QmpConnectFailed:
        return ()
