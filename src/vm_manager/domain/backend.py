"""What a hypervisor must offer. Each method's docstring is its contract; one test-suite holds every backend to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import EventSink
from vm_manager.domain.instance import BaseImage, InstanceRecord, Observation
from vm_manager.domain.spec import VmSpec

BackendData = Mapping[str, object]


@dataclass(frozen=True)
class Capabilities:
    """What a backend has: guests with an operating system (and so SSH and provisioning)."""

    guests: bool


@dataclass(frozen=True)
class Context:
    """What a backend is handed beside the VM: where to tell what happens, and what ends every wait."""

    emit: EventSink
    cancel: CancelToken


class Backend(Protocol):
    """Drives one kind of hypervisor. Stateless: what it must remember is in the data it returns for the record."""

    name: str

    def capabilities(self) -> Capabilities:
        """What it can do. Never fails."""

    def check_host(self) -> None:
        """Make sure that the host has what `prepare` and `start` need, before anything is fetched or made.

        Raises: `qemu::spawn_failed` or `image::overlay_creation_failed`, caused by `host::missing_tool`.
        """

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        """Make the machine's disks in `home`, an empty directory that may be renamed afterwards.

        Not idempotent: a failed preparation is thrown away with its directory.
        Raises: `image::overlay_creation_failed`, `host::disk_full`.
        """

    def start(self, record: InstanceRecord, home: Path, context: Context) -> BackendData:
        """Power on. Allowed when stopped or prepared; returns when the hypervisor runs the guest.

        Raises: `qemu::spawn_failed`, `qemu::qmp_connect_failed`, `host::kvm_unusable`.
        """

    def stop(self, record: InstanceRecord, home: Path, deadline: Deadline, context: Context) -> None:
        """Power off, gently first, by force at the deadline. Idempotent; returns when the process has ended."""

    def resume(self, record: InstanceRecord, home: Path) -> None:
        """Let the vCPUs run on. Idempotent, allowed while powered on.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """

    def destroy(self, home: Path) -> None:
        """End the process at once. Idempotent, allowed in every state, and without a readable record."""

    def observe(self, record: InstanceRecord, home: Path) -> Observation:
        """Look, without changing or blocking anything, within half a second. Never fails."""

    def require_alive(self, record: InstanceRecord, home: Path) -> None:
        """Cheap check for use in wait loops. Raises: `qemu::exited` when the process is gone."""

    def boot_timeout_s(self, record: InstanceRecord) -> int:
        """How long a guest may take to get ready on this accelerator, in seconds, where the spec does not say."""

    def evidence(self, record: InstanceRecord, home: Path) -> tuple[Evidence, ...]:
        """What the hypervisor can show for a failure: log and console tails. Never fails."""
