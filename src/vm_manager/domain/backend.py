"""What a hypervisor must offer. Each method's docstring is its contract; one test suite holds every backend to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from vm_manager.diagnostics.model import Diagnostic
    from vm_manager.domain.capabilities import BackendData, Capabilities
    from vm_manager.domain.instance import BaseImage, InstanceRecord
    from vm_manager.domain.machine import Machine, Remnant, Stray
    from vm_manager.domain.spec import VmSpec


class Backend(Protocol):
    """Drives one kind of hypervisor. What must be remembered is in the data that a machine returns for the record."""

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
        """Make the machine's disks in `home`, an empty directory that is renamed afterwards.

        Not idempotent: a failed preparation is thrown away with its directory.
        Raises: `image::overlay_creation_failed`, `host::disk_full`.
        """

    def machine(self, record: InstanceRecord, home: Path) -> Machine:
        """The machine of a record, without looking at it. Never fails.

        It is bound to this record: one that was changed has a machine of its own.
        """

    def remnant(self, name: str, home: Path) -> Remnant:
        """What may still run of a machine whose record cannot be read. Never fails."""

    def strays(self, vms: Path) -> tuple[Stray, ...]:
        """The machines of a data directory that run on, but which their VMs do not find any more; see `Stray`.

        vms: its directory of VMs, whether or not that is still there. Looks only. Never fails.
        """

    def close(self) -> None:
        """Release what it holds, such as connections; a later call connects again. Machines go on. Idempotent."""
