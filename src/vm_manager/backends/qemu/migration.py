"""Waiting for a migration of QEMU's to end, be it to a file or from one: by its events, and as long as bytes move.

Source: QEMU's QAPI, `migrate`, `query-migrate`, `MIGRATION`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vm_manager.backends.qemu.answers import mapping, number
from vm_manager.backends.qemu.evidence import reason
from vm_manager.backends.qemu.monitor import LOOK_EVERY_S, Monitor, NextEvent
from vm_manager.backends.qemu.process import wait_for_exit
from vm_manager.backends.qemu.query import look_up
from vm_manager.backends.qemu.stall import Stall
from vm_manager.diagnostics.errors import MigrationFailed, QmpConnectFailed, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken, Deadline

_log = logging.getLogger(__name__)

EVENT = "MIGRATION"

#: Options of a QEMU that waits for a machine's state, and does not run it yet.
INCOMING = ("-incoming", "defer", "-S")

_FD = "vmctl-state"
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


def send_state(monitor: Monitor, descriptor: int) -> None:
    """Begin to write the machine's state to an open file or socket. Raises: as `Monitor.execute`."""
    monitor.send_descriptor(_FD, descriptor)
    monitor.execute("migrate", {"uri": f"fd:{_FD}"})


def receive_state(monitor: Monitor, descriptor: int) -> None:
    """Begin to load a machine's state from an open file or socket. Raises: as `Monitor.execute`."""
    monitor.send_descriptor(_FD, descriptor)
    monitor.execute("migrate-incoming", {"uri": f"fd:{_FD}"})


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
        status, memory = info.get("status"), mapping(info.get("ram"))
        if status == until:
            return
        if status in _ENDED:
            raise MigrationFailed(failed, evidence=reason(info.get("error-desc")))
        total, remaining = number(memory, "total"), number(memory, "remaining")
        moved(total - remaining, total)
        stall.look((number(memory, "transferred"), remaining))
        next_event(LOOK_EVERY_S)


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
        event = next_event(LOOK_EVERY_S)
        # An event that got lost would be waited for in vain: as soon as QEMU answers again, it is asked, too.
        data = event.get("data") if event else look_up(home, "query-migrate")
        status = mapping(data).get("status")
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


def let_run(monitor: Monitor) -> None:
    """Let the vCPUs run, once no migration is under way that nobody waits for any more. Raises: as `Monitor.execute`."""
    abandon_migration(monitor)
    monitor.execute("cont")


@contextmanager
def undoing(undo: Callable[[], None]) -> Iterator[None]:
    """Have the machine run as before when the block fails; where that fails, too, the first failure says so.

    undo: raises `VmError`.
    """
    try:
        yield
    except BaseException as error:
        try:
            undo()
        except VmError as second:
            silent = isinstance(error, QmpConnectFailed) and isinstance(second, QmpConnectFailed)
            if isinstance(error, VmError) and not silent:
                error.enrich(notes=(f"could not resume the machine: {second}",))
            _log.info("after a failed migration: %s", second)
        raise


def _query(monitor: Monitor) -> Mapping[str, object]:
    return mapping(monitor.execute("query-migrate"))


def _last_error(monitor: Monitor) -> tuple[Evidence, ...]:
    """What QEMU says of a load that failed; mostly it has exited, and its log has the reason."""
    try:
        return reason(_query(monitor).get("error-desc"))
    except QmpConnectFailed:
        return ()
