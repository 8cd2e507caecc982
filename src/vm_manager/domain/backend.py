"""What a hypervisor must offer. Each method's docstring is its contract; one test-suite holds every backend to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vm_manager.domain.spec import NetworkMode

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_manager.diagnostics.errors import KvmUnusable
    from vm_manager.diagnostics.model import Diagnostic, Evidence
    from vm_manager.domain.deadline import CancelToken, Deadline
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import (
        Acceleration,
        BaseImage,
        Confinement,
        Execution,
        Incident,
        InstanceRecord,
        Observation,
        Snapshot,
        Vitals,
    )
    from vm_manager.domain.spec import VmSpec

BackendData = Mapping[str, object]


@dataclass(frozen=True)
class Capabilities:
    """What a backend has.

    guests: with an operating system (and so SSH and provisioning).
    networks: the modes it knows, whether or not this version runs them. mounts: directories of the host in the guest.
    """

    guests: bool
    networks: frozenset[NetworkMode]
    mounts: bool


class Backend(Protocol):
    """Drives one kind of hypervisor. Stateless: what it must remember is in the data it returns for the record."""

    name: str

    def capabilities(self) -> Capabilities:
        """What it can do. Never fails."""

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        """Make sure that the host has what these VMs need, before anything is fetched or made.

        Returns warnings, each once however many VMs it concerns.
        Raises: `qemu::spawn_failed` or `image::overlay_creation_failed`, caused by `host::missing_tool`;
        `host::kvm_unusable` where KVM is demanded.
        """

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        """Make the machine's disks in `home`, an empty directory that may be renamed afterwards.

        Not idempotent: a failed preparation is thrown away with its directory.
        Raises: `image::overlay_creation_failed`, `host::disk_full`.
        """

    def start(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        """Power on. Allowed when stopped or prepared; returns when the hypervisor runs the guest.

        emit: is told why it is emulated although the spec allows hardware acceleration, unless `check_host` has said so.
        Raises: `qemu::spawn_failed`, `qemu::qmp_connect_failed`, `host::kvm_unusable`.
        """

    def acceleration(self, record: InstanceRecord) -> Acceleration | None:
        """What executes the machine's code since its last start; None where there is no such choice. Never fails."""

    def confinement(self, record: InstanceRecord) -> Confinement | None:
        """The sandbox of the hypervisor since its last start; None where there is no process to confine. Never fails."""

    def distrust(self, record: InstanceRecord, finding: KvmUnusable) -> None:
        """Remember that hardware acceleration did not boot a guest which came up without. Never fails."""

    def execution(self, record: InstanceRecord, home: Path) -> Execution | None:
        """Where the vCPUs of a running machine are, within half a second; None when it does not tell. Never fails."""

    def stop(self, name: str, home: Path, deadline: Deadline, emit: EventSink) -> None:
        """Power off, gently first, by force at the deadline. Idempotent; returns when the process has ended.

        Needs no record: a VM whose record is damaged can be stopped, too. emit: is told each stage.
        """

    def suspend(self, record: InstanceRecord, home: Path) -> None:
        """Pause the vCPUs. Idempotent, allowed while powered on.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def resume(self, record: InstanceRecord, home: Path) -> None:
        """Let the vCPUs run on. Idempotent, allowed while powered on.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def save(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> None:
        """Write the machine's state to disk and power it off; it is then `saved`. Allowed while powered on.

        When it fails or is cancelled the machine is as before, running or paused, and nothing is saved.
        emit: is told how far it has come.
        Raises: `host::disk_full`, `qemu::migration_failed`, `qemu::exited`, `qemu::qmp_connect_failed`,
        `qemu::qmp_command_failed`, `vmctl::interrupted`.
        """

    def restore(self, record: InstanceRecord, home: Path, cancel: CancelToken, emit: EventSink) -> BackendData:
        """Power on from the saved state, and let the vCPUs run. Allowed when `saved`.

        A state is used once: before the vCPUs run it is gone, as they change the disk that it belongs to. When it fails
        before that the machine is off and the state is kept.
        Raises: `qemu::migration_failed`, `state::corrupt`, and as `start`.
        """

    def migrate(
        self,
        record: InstanceRecord,
        home: Path,
        there: InstanceRecord,
        staging: Path,
        switch: Callable[[BackendData], AbstractContextManager[None]],
        cancel: CancelToken,
        emit: EventSink,
    ) -> None:
        """Let a running machine go on in another directory, with its memory and its disk. Allowed while it runs.

        there: its record there. staging: an empty directory but for the files that are copied; the disk is made in it.
        switch: entered when the machine is whole in both directories and runs in neither; given the data for the record there.
        From then on that one counts, and `staging` has another name. It is left by an exception when the machine does not run
        there; then this one counts again.
        Returns when it runs there; here it is then left to be destroyed. When it fails, it runs here, and there is no
        process there.
        Raises: `qemu::migration_failed`, `qemu::exited`, `backend::not_available`, `host::disk_full`, `vmctl::interrupted`,
        and as `start`.
        """

    def abandon_migration(self, record: InstanceRecord, home: Path) -> None:
        """Let a machine run on here that a killed command was moving. Idempotent, allowed in every state.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def snapshots(self, record: InstanceRecord, home: Path) -> tuple[Snapshot, ...]:
        """The snapshots there are, oldest first, in any state. Raises: `image::format_detection_failed`."""

    def create_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        """Keep the disks, and while powered on the memory, under a new tag. The machine then runs or stands as before.

        Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`, `host::disk_full`.
        """

    def restore_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> BackendData:
        """Go back to a snapshot: one with memory runs on from there, powered on if need be; the disks alone need it powered off.

        Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`, and as `start`.
        """

    def delete_snapshot(self, record: InstanceRecord, home: Path, tag: str, cancel: CancelToken) -> None:
        """Remove a snapshot from all disks. Raises: `qemu::job_failed`, `qemu::qmp_connect_failed`."""

    def check_section(self, record: InstanceRecord) -> None:
        """Look whether the backend's own section of a record is whole. Raises: `ValueError`, saying what is wrong in it."""

    def destroy(self, home: Path) -> None:
        """End the process at once. Idempotent, allowed in every state, and without a readable record."""

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        """Look, without changing or blocking anything, within half a second. Never fails."""

    def heal(self, home: Path) -> tuple[str, ...]:
        """Clear away what a machine that ended without its own clean-up left behind; a line for each finding. Idempotent.

        Raises: `host::permission_denied`, `io`.
        """

    def require_alive(self, record: InstanceRecord, home: Path) -> None:
        """Cheap check for use in wait loops: the machine is there, and has not been stopped by an error.

        Raises: `qemu::exited`, `guest::panicked`, `qemu::io_error`, `qemu::internal_error`.
        """

    def incident(self, record: InstanceRecord, home: Path) -> Incident | None:
        """What befell the machine since its last start and still holds: a panicked guest, one that QEMU stopped, or an
        end for which neither the guest nor the monitor was the reason. Looks, without changing anything. Never fails.

        An end by force that a command wanted is not told from others: that is the caller's to know.
        """

    def vitals(self, record: InstanceRecord, home: Path) -> Vitals | None:
        """The counters of a running machine, within half a second; None when it does not tell. Never fails."""

    def screen(self, record: InstanceRecord, home: Path) -> tuple[str, ...]:
        """The lines on the guest's screen, where it shows text: the guest's word, not to be trusted. Never fails."""

    def stall_limit_s(self, record: InstanceRecord) -> int:
        """How long a guest that boots may go without any progress on this accelerator, in seconds."""

    def boot_timeout_s(self, record: InstanceRecord) -> int:
        """How long a guest may take to get ready on this accelerator, in seconds, where the spec does not say."""

    def connect_console(self, record: InstanceRecord, home: Path) -> socket.socket:
        """A non-blocking stream socket to the guest's serial console, which serves one at a time.

        Allowed while powered on. Whoever holds it must read all the time: a console that is not read stalls the guest.
        Raises: `backend::not_available` where machines have none, `state::locked` when another program is connected, `io`.
        """

    def evidence(self, record: InstanceRecord, home: Path) -> tuple[Evidence, ...]:
        """What the hypervisor can show for a failure: log and console tails. Never fails."""
