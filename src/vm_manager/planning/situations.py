"""Where a VM can be, as far as it matters for what can be done with it next."""

from __future__ import annotations

from enum import StrEnum

from vm_manager.domain.instance import Instance, VmState


class Situation(StrEnum):
    """Where a VM is.

    OFF: prepared, stopped, or a start that failed. SAVED: off, with its state on disk. BLOCKED: QEMU paused it after an error
    that can be mended. CRASHED: the guest is lost, though QEMU still runs. HELD: QEMU itself does not run, for example because
    its process was stopped.
    """

    OFF = "off"
    RUNNING = "running"
    SUSPENDED = "suspended"
    SAVED = "saved"
    BLOCKED = "blocked"
    CRASHED = "crashed"
    HELD = "held"


#: The first step out of a situation in which something is not possible.
WAYS_OUT = {
    Situation.OFF: "start it with `vmctl start {name}`",
    Situation.RUNNING: "stop it first: `vmctl stop {name}`",
    Situation.SUSPENDED: "resume it with `vmctl resume {name}`",
    Situation.SAVED: "resume it with `vmctl resume {name}`",
    Situation.BLOCKED: "fix the cause (see `vmctl status {name}`), then run `vmctl resume {name}`",
    Situation.CRASHED: "reboot it with `vmctl restart {name}`",
    Situation.HELD: "`vmctl status {name}` shows how its process can run again",
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
        case VmState.FAILED if not instance.observation.answers:
            return Situation.HELD
        case VmState.FAILED:
            return Situation.BLOCKED if instance.observation.resumable else Situation.CRASHED
    return Situation.RUNNING
