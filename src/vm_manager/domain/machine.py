"""One machine of a hypervisor, bound to its record. Each method's docstring is its contract.

What every machine has is in `Machine`; what not every backend has is named by its `Feature`. Larger groups of that are protocols
of their own, and a method of `Machine` returns each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vm_manager.diagnostics.errors import BackendNotAvailable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_manager.diagnostics.errors import KvmUnusable
    from vm_manager.diagnostics.model import Evidence
    from vm_manager.domain.capabilities import BackendData, Feature
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import (
        Acceleration,
        Confinement,
        Endpoint,
        Execution,
        Incident,
        InstanceRecord,
        Observation,
        Snapshot,
        Vitals,
    )
    from vm_manager.domain.share import ShareType


class Remnant(Protocol):
    """What can be done to a machine without a readable record."""

    def is_alive(self) -> bool:
        """Whether the machine is powered on, be its vCPUs running or not. Looks only. Never fails."""

    def stop(self, deadline: Deadline, emit: EventSink) -> None:
        """Power off, gently first, by force at the deadline. Idempotent; returns when the process has ended.

        emit: receives each stage.
        """

    def destroy(self) -> None:
        """End the process at once. Idempotent, allowed in every state."""

    def heal(self) -> tuple[str, ...]:
        """Remove what a machine that ended without its own clean-up left behind; a line for each finding. Idempotent.

        Raises: `host::permission_denied`, `io`.
        """

    def logs(self) -> Mapping[str, Path]:
        """The hypervisor's own logs by their names, whether or not there is anything in them yet. Never fails.

        What comes from the guest, such as its console, is not among them.
        """


class Stray(Protocol):
    """A machine that runs on without its VM: its directory was deleted or moved, or the files that lead to it were.

    name: the VM's. pid: of the hypervisor's process. lost: what is gone, as a clause, with `{home}` for the VM's directory and
    `{place}` for `moved_to`, which says where that is now. disk: where its disk can still be read that was deleted.
    """

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def lost(self) -> str: ...
    @property
    def moved_to(self) -> str | None: ...
    @property
    def disk(self) -> str | None: ...

    def stop(self, deadline: Deadline, emit: EventSink) -> None:
        """As `Remnant.stop`, as gently as what is left allows; never another process, though pids are reused."""

    def destroy(self) -> None:
        """As `Remnant.destroy`; never another process."""


class Machine(Remnant, Protocol):
    """One machine: its power, what can be seen of it, and the optional groups."""

    def placed(self) -> None:
        """Called when the directory of a prepared machine has its final name, before the first start.

        For hypervisors that keep a register of their machines. Idempotent. When it fails the VM is removed again.
        """

    def start(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        """Power on. Allowed when stopped or prepared; returns when the hypervisor runs the guest.

        emit: receives why it is emulated although the spec allows hardware acceleration, unless `check_host` has said so.
        Raises: `qemu::spawn_failed`, `qemu::qmp_connect_failed`, `host::kvm_unusable`; for a card on a bridge
        `network::bridge_missing`, `host::permission_denied`, `host::missing_tool`.
        """

    def suspend(self) -> None:
        """`Feature.SUSPEND`: pause the vCPUs. Idempotent, allowed while powered on.

        Raises: `backend::not_available` where the backend lacks it, `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def resume(self) -> None:
        """`Feature.SUSPEND`: let the vCPUs run on. Idempotent, allowed while powered on.

        Raises: `backend::not_available` where the backend lacks it, `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def reset(self) -> None:
        """Restart the guest at once, as by a reset button, whatever it does. Allowed while powered on.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def observe(self) -> Observation:
        """Look, without changing or blocking anything, within half a second. Never fails.

        Where the guest has an address of its own that is looked for, it may take a second.
        """

    def locate(self) -> tuple[Endpoint | None, tuple[Evidence, ...]]:
        """Where the guest's sshd is reached now: as `observe` says, else as the guest's agent does, which may take some seconds.

        Where the guest has an address of its own, also what each place had in which that was looked for. Never fails.
        """

    def macs(self) -> tuple[str, ...]:
        """The MAC addresses of the machine's cards, in their order: the same at each start. Never fails for a whole record."""

    def require_answer(self) -> None:
        """Give a hypervisor that did not answer `observe` the time that a busy host takes; for the holder of the VM's lock.

        Raises: `qemu::qmp_connect_failed`.
        """

    def require_alive(self) -> None:
        """Cheap check for use in wait loops: the machine is there, and has not been stopped by an error.

        Raises: a `MachineGone` or a `MachineStopped`, such as `qemu::exited`, `guest::panicked`, `qemu::io_error`,
        `qemu::internal_error`.
        """

    def incident(self) -> Incident | None:
        """What befell the machine since its last start and still holds: a panicked guest, one that the hypervisor stopped,
        or an end for which neither the guest nor the monitor was the reason. Looks, without changing anything. Never fails.

        An end by force that a command wanted looks like any other: the caller has to know about it.
        """

    def vitals(self) -> Vitals | None:
        """The counters of a running machine, within half a second; None when it does not say. Never fails."""

    def restarts(self) -> int:
        """How often the guest has restarted since power-on, as far as is known. Cheap, for wait loops. Never fails."""

    def execution(self) -> Execution | None:
        """Where the vCPUs of a running machine are, within half a second; None when it does not say. Never fails."""

    def screen(self) -> tuple[str, ...]:
        """The lines on the guest's screen, where it shows text, and those before that have scrolled off but are still known.

        Untrusted: comes from the guest. Never fails.
        """

    def evidence(self) -> tuple[Evidence, ...]:
        """What the hypervisor can show for a failure: log and console tails. Never fails."""

    def drives(self) -> Mapping[str, int]:
        """The sizes in bytes of the disks that there are for drives, attached or not, by the drives' names.

        One that cannot be read is left out. Looks only. Never fails.
        """

    def share_type(self) -> ShareType | None:
        """How directories of the host are shared with the guest since the last start; None: none is. Never fails."""

    def acceleration(self) -> Acceleration | None:
        """What executes the machine's code since its last start; None where there is no such choice. Never fails."""

    def confinement(self) -> Confinement | None:
        """The sandbox of the hypervisor since its last start; None where there is no process to confine. Never fails."""

    def distrust(self, finding: KvmUnusable) -> None:
        """Remember that hardware acceleration did not boot a guest that booted without it. Never fails."""

    def stall_limit_s(self) -> int:
        """How long a guest that boots may go without any progress on this accelerator, in seconds."""

    def boot_timeout_s(self) -> int:
        """How long a guest may take to get ready on this accelerator, in seconds, where the spec does not say."""

    def check_section(self) -> None:
        """Check that the backend's own section of the record is whole. Raises: `ValueError`, saying what is wrong in it."""

    def saved_state(self) -> SavedState:
        """`Feature.SAVED_STATE`. Raises: `backend::not_available` where the backend lacks it."""

    def snapshots(self) -> Snapshots:
        """`Feature.SNAPSHOTS`. Raises: `backend::not_available` where the backend lacks it."""

    def migration(self) -> Migration:
        """`Feature.MIGRATION`. Raises: `backend::not_available` where the backend lacks it."""

    def connect_console(self) -> socket.socket:
        """`Feature.CONSOLE`: a non-blocking stream socket to the guest's serial console, which serves one client at a time.

        Allowed while powered on. Whoever holds it must read all the time: a console that is not read stalls the guest.
        Raises: `backend::not_available` where the backend lacks it, `state::locked` when another program is connected, `io`.
        """

    def picture(self) -> bytes:
        """`Feature.SCREEN`: what the guest's screen shows now, as a PNG file. Allowed while powered on, without a lock.

        Raises: `backend::not_available` where the backend lacks it, `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def vnc_socket(self) -> Path:
        """`Feature.SCREEN`: the UNIX socket at which the guest's screen, keyboard and mouse are served by VNC (RFC 6143).

        Raises: `backend::not_available` where the backend lacks it.
        """


class SavedState(Protocol):
    """The memory and devices of a machine on disk, while it is powered off."""

    def save(self, cancel: CancelToken, emit: EventSink) -> int:
        """Write the machine's state to disk and power it off; it is then `saved`. Allowed while powered on.

        When it fails or is cancelled the machine is as before, running or paused, and nothing is saved.
        emit: receives its progress. Returns the size of the saved state in bytes.
        Raises: `host::disk_full`, `qemu::migration_failed`, `qemu::exited`, `qemu::qmp_connect_failed`,
        `qemu::qmp_command_failed`, `vmctl::interrupted`.
        """

    def restore(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        """Power on from the saved state, and let the vCPUs run. Allowed when `saved`.

        A state is used once: before the vCPUs run it is gone, as they change the disk that it belongs to. When it fails
        before that the machine is off and the state is kept.
        Raises: `qemu::migration_failed`, `state::corrupt`, and as `Machine.start`.
        """

    def discard(self) -> int:
        """Remove the saved state. Returns its size in bytes, 0 where there is none. Idempotent.

        Raises: `host::permission_denied`, `io`.
        """


class Snapshots(Protocol):
    """States of a machine that it can go back to."""

    def all(self) -> tuple[Snapshot, ...]:
        """The snapshots there are, oldest first, in any state, also those that disks attached since are not in.

        Raises: `image::format_detection_failed`, `io`.
        """

    def create(self, tag: str, cancel: CancelToken) -> None:
        """Keep the disks, and while powered on the memory, under a new tag. The machine then runs or stands as before.

        Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`, `host::disk_full`.
        """

    def restore(self, tag: str, cancel: CancelToken) -> BackendData:
        """Go back to a snapshot that all disks are in: one with memory runs on from there, powered on if need be.

        The disks alone need it powered off.
        Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`, and as `Machine.start`.
        """

    def delete(self, tag: str, cancel: CancelToken) -> None:
        """Remove a snapshot from all disks that are in it. Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`."""


class Migration(Protocol):
    """A running machine that goes on in another directory."""

    def move(
        self,
        target: InstanceRecord,
        staging: Path,
        switch: Callable[[BackendData], AbstractContextManager[None]],
        cancel: CancelToken,
        emit: EventSink,
    ) -> None:
        """Let a running machine go on in another directory, with its memory and its disk. Allowed while it runs.

        target: its record there. staging: an empty directory but for the files that are copied; the disk is made in it.
        switch: entered when the machine is whole in both directories and runs in neither; given the data for the record there.
        From then on that one counts, and `staging` has another name. It is left by an exception when the machine does not run
        there; then this one counts again.
        Returns when it runs there; here it is then left to be destroyed. When it fails, it runs here, and there is no
        process there.
        Raises: `qemu::migration_failed`, `qemu::exited`, `backend::not_available`, `host::disk_full`, `vmctl::interrupted`,
        and as `Machine.start`.
        """

    def abandon(self) -> None:
        """Let a machine run on here that a killed command was moving. Idempotent, allowed in every state.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """


def lacking(backend: str, feature: Feature) -> BackendNotAvailable:
    """The failure of what needs a feature that a backend does not have."""
    return BackendNotAvailable(
        "the {backend} backend has no {feature}",
        {"backend": backend, "feature": feature.value},
        help=("new VMs can use the qemu backend: `vmctl up --backend qemu`",),
    )
