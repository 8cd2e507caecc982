"""What is going to be done: a plan is a list of operations, each with its cause."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.spec import VmSpec


class Action(StrEnum):
    """What can be done: the operations that plans are made of, in the order in which they can follow each other; then the others,
    on a VM and, CONVERT, on an image.
    """

    FETCH = "fetch"
    CREATE = "create"
    START = "start"
    RESUME = "resume"
    SUSPEND = "suspend"
    SAVE = "save"
    RESTORE = "restore"
    DISCARD = "discard"
    WAIT = "wait"
    PROVISION = "provision"
    STOP = "stop"
    REPLACE = "replace"
    DESTROY = "destroy"
    NOTHING = "nothing"
    SNAPSHOT_CREATE = "snapshot create"
    SNAPSHOT_RESTORE = "snapshot restore"
    SNAPSHOT_DELETE = "snapshot delete"
    MIGRATE = "migrate"
    CONVERT = "convert"


class WaitFor(StrEnum):
    """How long `up` waits for a guest. READY: until it is ready; SSH: until a login works; NONE: until QEMU runs."""

    READY = "ready"
    SSH = "ssh"
    NONE = "none"


@dataclass(frozen=True)
class Operation:
    """One thing to do to one VM, and why.

    cause: in a few words for people; it is worded where the rule is that decided.
    steps: for PROVISION, the indexes of the provisioners to run. wait_for: for WAIT, what ends it.
    span: the VMFile's block that wants it.
    spec: what the VM is to be; None for operations that do not depend on that.
    notices: for what powers on or waits, what changes with it that is easily overlooked; a part of the cause.
    stops: for REPLACE, whether the old VM has to be stopped. saved_state: for REPLACE and DESTROY, whether one goes with the VM.
    """

    vm: str
    action: Action
    cause: str
    steps: tuple[int, ...] = ()
    span: Span | None = None
    wait_for: WaitFor = WaitFor.READY
    spec: VmSpec | None = None
    notices: tuple[str, ...] = ()
    stops: bool = False
    saved_state: bool = False

    @property
    def needs_host(self) -> bool:
        """Whether it needs what a host must have to create and start machines."""
        return self.action in (Action.CREATE, Action.REPLACE, Action.START)

    def __str__(self) -> str:
        return f"{self.vm}: {self.action} ({self.cause})"


# What alters a VM that exists. To wait for it does not, and an image that is downloaded is not a VM's yet.
_CHANGING = frozenset(Action) - {
    Action.FETCH,
    Action.CREATE,
    Action.REPLACE,
    Action.DESTROY,
    Action.WAIT,
    Action.NOTHING,
}


@dataclass(frozen=True)
class Totals:
    """How many VMs a plan creates, changes and destroys. One that is replaced is destroyed and created, as in Terraform."""

    create: int
    change: int
    destroy: int


@dataclass(frozen=True)
class Plan:
    """Operations in order; those of one VM depend on each other, those of different VMs do not."""

    operations: tuple[Operation, ...]

    def of(self, vm: str) -> tuple[Operation, ...]:
        """The operations on one VM."""
        return tuple(operation for operation in self.operations if operation.vm == vm)

    @property
    def vms(self) -> tuple[str, ...]:
        """The VMs of the plan, in the order of their first operation."""
        return tuple(dict.fromkeys(operation.vm for operation in self.operations))

    @property
    def totals(self) -> Totals:
        """How many VMs it creates, changes and destroys. What follows the creation of a VM is a part of that."""
        created = self._vms_with(Action.CREATE, Action.REPLACE)
        destroyed = self._vms_with(Action.DESTROY, Action.REPLACE)
        changed = self._vms_with(*_CHANGING) - created - destroyed
        return Totals(len(created), len(changed), len(destroyed))

    def _vms_with(self, *actions: Action) -> set[str]:
        return {operation.vm for operation in self.operations if operation.action in actions}
