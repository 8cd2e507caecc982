"""What a VM can do from where it is: the table of `start`, `stop`, `restart`, `suspend`, `resume` and `destroy`."""

from __future__ import annotations

from enum import StrEnum

from vm_manager.diagnostics.errors import InvalidState
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.instance import Instance, VmState
from vm_manager.domain.plan import Action, Operation, Plan


class Verb(StrEnum):
    """The commands that work on single VMs by name."""

    START = "start"
    START_ANEW = "start --discard-saved-state"
    STOP = "stop"
    RESTART = "restart"
    SUSPEND = "suspend"
    SAVE = "suspend --to-disk"
    RESUME = "resume"
    DESTROY = "destroy"


class Situation(StrEnum):
    """Where a VM can be, as far as it matters for what it can do next.

    OFF: prepared, stopped, or a start that failed. SAVED: off, with its state on disk. BLOCKED: QEMU paused it after an error
    that can be mended. CRASHED: the guest is lost, though QEMU still runs.
    """

    OFF = "off"
    RUNNING = "running"
    SUSPENDED = "suspended"
    SAVED = "saved"
    BLOCKED = "blocked"
    CRASHED = "crashed"


_OFF, _RUNNING, _SUSPENDED = Situation.OFF, Situation.RUNNING, Situation.SUSPENDED
_SAVED, _BLOCKED, _CRASHED = Situation.SAVED, Situation.BLOCKED, Situation.CRASHED

_BOOT = (Action.START, Action.WAIT)
_GO_ON = (Action.RESUME, Action.WAIT)
_AGAIN = (Action.STOP, *_BOOT)
_END = (Action.STOP,)
_BACK = (Action.RESTORE, Action.WAIT)
_WITHOUT = (Action.DISCARD, *_BOOT)
_TO_DISK = (Action.SAVE,)

# fmt: off
#: What is done; a text: it is so already; not there: refused.
#: What a saved VM has in memory is not thrown away by STOP and RESTART: it goes on first, and is then shut down in good order.
TABLE: dict[Verb, dict[Situation, tuple[Action, ...] | str]] = {
    Verb.START: {
        _OFF: _BOOT, _RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _BACK, _BLOCKED: _GO_ON
    },
    Verb.START_ANEW: {
        _OFF: _BOOT, _RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _WITHOUT, _BLOCKED: _GO_ON
    },
    Verb.STOP: {
        _OFF: "already stopped", _RUNNING: _END, _SUSPENDED: _END, _SAVED: (Action.RESTORE, *_END),
        _BLOCKED: _END, _CRASHED: _END,
    },
    Verb.RESTART: {
        _OFF: _BOOT, _RUNNING: _AGAIN, _SUSPENDED: _AGAIN, _SAVED: (Action.RESTORE, *_AGAIN),
        _BLOCKED: _AGAIN, _CRASHED: _AGAIN,
    },
    Verb.SUSPEND: {_RUNNING: (Action.SUSPEND,), _SUSPENDED: "already suspended", _SAVED: "already saved to disk"},
    Verb.SAVE: {_RUNNING: _TO_DISK, _SUSPENDED: _TO_DISK, _SAVED: "already saved to disk"},
    Verb.RESUME: {_RUNNING: "already running", _SUSPENDED: _GO_ON, _SAVED: _BACK, _BLOCKED: _GO_ON},
    Verb.DESTROY: dict.fromkeys(Situation, (Action.DESTROY,)),
}
# fmt: on

_WAYS_OUT = {
    _OFF: "start it with `vmctl start {name}`",
    _BLOCKED: "mend what stopped it (`vmctl status {name}` says what), then `vmctl resume {name}`",
    _CRASHED: "boot it anew with `vmctl restart {name}`",
}


def situation(instance: Instance) -> Situation:
    """Where an instance is."""
    match instance.state:
        case _ if instance.saved:
            return Situation.SAVED
        case _ if not instance.alive:
            return Situation.OFF
        case VmState.SUSPENDED:
            return Situation.SUSPENDED
        case VmState.FAILED:
            return Situation.BLOCKED if instance.observation.resumable else Situation.CRASHED
    return Situation.RUNNING


def plan_lifecycle(verb: Verb, instance: Instance, *, guests: bool) -> Plan:
    """The operations of a command on one VM.

    guests: whether its backend runs guests that could be waited for.
    Raises: `vm::invalid_state`, with what is allowed now.
    """
    here = situation(instance)
    todo = TABLE[verb].get(here)
    if todo is None:
        raise InvalidState(
            "VM '{name}' is {state}",
            {"name": instance.name, "state": instance.state},
            help=(_WAYS_OUT[here].format(name=instance.name),),
            subject=Subject(vm=instance.name),
        )
    if isinstance(todo, str):
        return Plan((Operation(instance.name, Action.NOTHING, todo),))
    waits = guests and _can_get_ready(instance, booted=Action.START in todo)
    return Plan(
        tuple(
            Operation(instance.name, action, f"is {instance.state}")
            for action in todo
            if action is not Action.WAIT or waits
        )
    )


def _can_get_ready(instance: Instance, *, booted: bool) -> bool:
    """Whether to wait for the guest: as far as it has come before, and at its first start as far as it can."""
    progress = instance.record.progress
    if not instance.record.has_login:
        return False
    return (progress.reached or not progress.started) if booted else progress.ready
