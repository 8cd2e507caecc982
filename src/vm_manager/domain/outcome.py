"""What is done to a VM or an image, and how it ended, as values. `ui.outcomes` has the words for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.instance import Endpoint
from vm_manager.domain.plan import Action, WaitFor


@dataclass(frozen=True)
class Done:
    """Something that was done, or while its step has not ended is being done, with the facts that its action has.

    cause: for NOTHING, why there was nothing to do.
    source: for FETCH, the URL, when an image is downloaded for itself.
    from_cache: for FETCH, CREATE and REPLACE, whether the image came from the cache without a download.
    ssh: for START, RESTORE and MIGRATE, where the guest's sshd is reached.
    size_bytes: for SAVE, what was written; for DISCARD and REPLACE, what was thrown away; for SNAPSHOT_CREATE, the memory in it.
    saved_state: for REPLACE and DESTROY, whether a saved state went with the VM.
    wait_for: for WAIT, what has been reached.
    steps: for PROVISION, how many steps ran. steps_left_out: how many did not, since they run once.
    step: for a single one, its number, from 1; `steps` is then how many there are. title: what it is.
    pid: for STOP, of a machine that was known by its process only.
    tag: of the snapshot. to: for MIGRATE, the data directory; for CONVERT, the format.
    elapsed_s: how long it took; not compared.
    """

    action: Action
    cause: str = ""
    source: str = ""
    from_cache: bool = False
    ssh: Endpoint | None = None
    size_bytes: int = 0
    saved_state: bool = False
    wait_for: WaitFor = WaitFor.READY
    steps: int = 0
    steps_left_out: int = 0
    step: int | None = None
    title: str = ""
    pid: int | None = None
    tag: str = ""
    to: str = ""
    elapsed_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Outcome:
    """How the work on one VM ended. done: what was done, in order, unless it failed; error: why it did, or None.

    missing: the VMs that this one depends on and that failed or were skipped; then nothing was done.
    elapsed_s: how long it took in all; not compared.
    """

    vm: str
    done: tuple[Done, ...] = ()
    error: VmError | None = None
    missing: tuple[str, ...] = ()
    elapsed_s: float = field(default=0.0, compare=False)

    @property
    def skipped(self) -> bool:
        """Whether nothing was done, because a VM that this one depends on failed or was skipped."""
        return bool(self.missing)

    @property
    def exit_code(self) -> int:
        """The exit status of a command with this outcome alone."""
        return self.error.exit_code if self.error else 0
