"""The QEMU backend: guests with virtio devices, under KVM or TCG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.backends.qemu.children import Children
from vm_manager.backends.qemu.machine import QemuMachine, QemuRemnant
from vm_manager.backends.qemu.warnings import Warnings
from vm_manager.domain.capabilities import BackendData, Capabilities, Feature
from vm_manager.domain.network import NetworkMode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vm_manager.backends.qemu.strays import QemuStray
    from vm_manager.diagnostics.model import Diagnostic
    from vm_manager.domain.instance import BaseImage, InstanceRecord
    from vm_manager.domain.spec import VmSpec

_NETWORKS = frozenset({NetworkMode.USER, NetworkMode.PRIVATE, NetworkMode.TAP, NetworkMode.NONE})  # VNICs are illumos's


class QemuBackend:
    """See `Backend` for the contract of each method."""

    name = "qemu"

    def __init__(self) -> None:
        self._children, self._warnings = Children(), Warnings()

    def capabilities(self) -> Capabilities:
        return Capabilities(guests=True, networks=_NETWORKS, mounts=True, features=frozenset(Feature))

    def check_host(self, specs: Sequence[VmSpec]) -> tuple[Diagnostic, ...]:
        from vm_manager.backends.qemu.firmware import find_firmware
        from vm_manager.backends.qemu.launch import accelerator_findings
        from vm_manager.domain.spec import Firmware
        from vm_manager.host.qemu_img import require_qemu_img
        from vm_manager.host.sandbox import sandbox_finding

        unconfined = sandbox_finding()
        findings = (*accelerator_findings(specs), *((unconfined,) if unconfined else ()))
        require_qemu_img()
        for arch in {spec.arch for spec in specs if spec.firmware is Firmware.UEFI}:
            find_firmware(arch)
        return tuple(warning for finding in findings for warning in self._warnings.once(finding))

    def prepare(self, spec: VmSpec, base: BaseImage, home: Path) -> BackendData:
        from vm_manager.backends.qemu.disks import new_identity, prepare_disks
        from vm_manager.state.layout import InstanceFiles

        prepare_disks(spec, base, InstanceFiles(home))
        return new_identity().plain()

    def machine(self, record: InstanceRecord, home: Path) -> QemuMachine:
        return QemuMachine(record, home, self._children, self._warnings)

    def remnant(self, name: str, home: Path) -> QemuRemnant:
        return QemuRemnant(name, home, self._children)

    def strays(self, vms: Path) -> tuple[QemuStray, ...]:
        from vm_manager.backends.qemu.strays import find_strays

        return find_strays(vms)

    def close(self) -> None:
        return


def factory() -> QemuBackend:
    """The backend, for the registry."""
    return QemuBackend()
