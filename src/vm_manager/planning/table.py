"""What every command can do with a VM from where it is: one table, command by situation."""

from __future__ import annotations

from enum import StrEnum

from vm_manager.diagnostics.errors import InvalidState
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.capabilities import Feature
from vm_manager.domain.instance import Instance, VmState
from vm_manager.domain.machine import lacking
from vm_manager.domain.plan import Action
from vm_manager.planning.situations import WAYS_OUT, Situation, situation


class Verb(StrEnum):
    """The commands that work on VMs that exist."""

    UP = "up"
    DOWN = "down"
    DOWN_DESTROY = "down --destroy"
    START = "start"
    START_DISCARDING = "start --discard-saved-state"
    STOP = "stop"
    RESTART = "restart"
    SUSPEND = "suspend"
    SAVE = "suspend --to-disk"
    RESUME = "resume"
    DESTROY = "destroy"
    SSH = "ssh"
    FORWARD = "forward"
    CONSOLE = "console"
    SCREENSHOT = "screenshot"
    VNC = "vnc"
    PROVISION = "provision"
    MIGRATE = "migrate"
    SNAPSHOT_CREATE = "snapshot create"
    SNAPSHOT_RESTORE = "snapshot restore"
    SNAPSHOT_DELETE = "snapshot delete"


#: What is done to the machine; a text: it is so already. Empty: nothing has to be done first.
Cell = tuple[Action, ...] | str

_OFF, _RUNNING, _SUSPENDED = Situation.OFF, Situation.RUNNING, Situation.SUSPENDED
_SAVED, _BLOCKED, _CRASHED, _HELD = Situation.SAVED, Situation.BLOCKED, Situation.CRASHED, Situation.HELD

_POSSIBLE: Cell = ()
_BOOT = (Action.START, Action.WAIT)
_GO_ON = (Action.RESUME, Action.WAIT)
_AGAIN = (Action.STOP, *_BOOT)
_END = (Action.STOP,)
_BACK = (Action.RESTORE, Action.WAIT)
_WITHOUT = (Action.DISCARD, *_BOOT)
_TO_DISK = (Action.SAVE,)

# fmt: off
# What a saved VM has in memory is not thrown away by STOP, DOWN and RESTART: it goes on first, and is then shut down in good
# order.
_STOPPING: dict[Situation, Cell] = {
    _OFF: "already stopped", _RUNNING: _END, _SUSPENDED: _END, _SAVED: (Action.RESTORE, *_END), _BLOCKED: _END, _CRASHED: _END,
    _HELD: _END,
}
_LOOKING: dict[Situation, Cell] = dict.fromkeys((_RUNNING, _SUSPENDED, _BLOCKED, _CRASHED), _POSSIBLE)
_REMOVING: dict[Situation, Cell] = dict.fromkeys(Situation, (Action.DESTROY,))

#: A situation that is missing: refused.
TABLE: dict[Verb, dict[Situation, Cell]] = {
    # What `up` waits for and provisions besides is no matter of where the machine is; see `planning.up`.
    Verb.UP: {_OFF: (Action.START,), _RUNNING: _POSSIBLE, _SUSPENDED: (Action.RESUME,), _SAVED: (Action.RESTORE,)},
    Verb.DOWN: _STOPPING,
    Verb.DOWN_DESTROY: _REMOVING,
    Verb.START: {
        _OFF: _BOOT, _RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _BACK, _BLOCKED: _GO_ON
    },
    Verb.START_DISCARDING: {
        _OFF: _BOOT, _RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _WITHOUT, _BLOCKED: _GO_ON
    },
    Verb.STOP: _STOPPING,
    Verb.RESTART: {
        _OFF: _BOOT, _RUNNING: _AGAIN, _SUSPENDED: _AGAIN, _SAVED: (Action.RESTORE, *_AGAIN),
        _BLOCKED: _AGAIN, _CRASHED: _AGAIN, _HELD: _AGAIN,
    },
    Verb.SUSPEND: {_RUNNING: (Action.SUSPEND,), _SUSPENDED: "already suspended", _SAVED: "already saved to disk"},
    Verb.SAVE: {_RUNNING: _TO_DISK, _SUSPENDED: _TO_DISK, _SAVED: "already saved to disk"},
    Verb.RESUME: {_RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _BACK, _BLOCKED: _GO_ON},
    Verb.DESTROY: _REMOVING,
    # Of a guest that stands still nobody gets an answer.
    Verb.SSH: {_RUNNING: _POSSIBLE},
    Verb.FORWARD: {_RUNNING: _POSSIBLE},
    Verb.CONSOLE: _LOOKING,
    Verb.SCREENSHOT: _LOOKING,
    Verb.VNC: _LOOKING,
    Verb.PROVISION: {_RUNNING: _POSSIBLE},
    Verb.MIGRATE: {_RUNNING: _POSSIBLE},
    Verb.SNAPSHOT_CREATE: dict.fromkeys((_OFF, _RUNNING, _SUSPENDED), _POSSIBLE),
    # The memory of a saved VM belongs to the disk as it is now.
    Verb.SNAPSHOT_RESTORE: dict.fromkeys((_OFF, _RUNNING, _SUSPENDED, _BLOCKED, _CRASHED), _POSSIBLE),
    Verb.SNAPSHOT_DELETE: dict.fromkeys(Situation, _POSSIBLE),
}
# fmt: on
#: What a command needs that not every backend has.
FEATURES = {
    # Not RESUME: it restores saved VMs, too, and a backend that cannot suspend has no others to resume.
    Verb.SUSPEND: Feature.SUSPEND,
    Verb.SAVE: Feature.SAVED_STATE,
    Verb.CONSOLE: Feature.CONSOLE,
    Verb.SCREENSHOT: Feature.SCREEN,
    Verb.VNC: Feature.SCREEN,
    Verb.MIGRATE: Feature.MIGRATION,
    Verb.SNAPSHOT_CREATE: Feature.SNAPSHOTS,
    Verb.SNAPSHOT_RESTORE: Feature.SNAPSHOTS,
    Verb.SNAPSHOT_DELETE: Feature.SNAPSHOTS,
}
# Where the state, which is "failed", does not say which of the two it is.
_IS = {_BLOCKED: "is paused by an error", _CRASHED: "has crashed"}
_NEED_IT_RUNNING = (Verb.SSH, Verb.FORWARD, Verb.CONSOLE, Verb.SCREENSHOT, Verb.VNC, Verb.PROVISION, Verb.MIGRATE)


def cell(verb: Verb, instance: Instance) -> Cell:
    """What a command does with an instance from where it is.

    Raises: `vm::invalid_state`, with the way out; `backend::not_available` when its backend lacks what the command needs.
    """
    needed = FEATURES.get(verb)
    if needed is not None and needed not in instance.features:
        raise lacking(instance.record.backend, needed)
    found = TABLE[verb].get(situation(instance))
    if found is None:
        raise refusal(verb, instance)
    return found


def predicate(state: VmState) -> str:
    """What is said of a VM in this state."""
    return "has failed" if state is VmState.FAILED else f"is {state}"


def refusal(verb: Verb, instance: Instance) -> InvalidState:
    """That a command can do nothing with an instance where it is, and what can be done first."""
    needs, where = verb in _NEED_IT_RUNNING, situation(instance)
    return InvalidState(
        "VM '{name}' {is}; {command} requires a running VM" if needs else "VM '{name}' {is}",
        {
            "name": instance.name,
            "state": instance.state,
            "command": f"`vmctl {verb}`",
            "is": _IS.get(where) or predicate(instance.state),
        },
        help=(WAYS_OUT[where].format(name=instance.name),),
        subject=Subject(vm=instance.name),
    )
