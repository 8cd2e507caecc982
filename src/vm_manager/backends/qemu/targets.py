"""What QEMU calls the parts of a machine, by the architecture of the guest.

Source: qemu-system-x86_64(1), QEMU's docs/system/arm/virt.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vm_manager.domain.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class Target:
    """program: QEMU's. machine: for -machine. emulated_cpu: the default for -cpu under TCG.

    panic: the device by which a kernel tells its panic. screen: a display, and a keyboard where the machine has none.
    has_vga: whether the text on the screen can be read from its memory. firmware_machine: what firmware descriptors match.
    """

    program: str
    machine: str
    emulated_cpu: str
    panic: str
    screen: tuple[str, ...]
    has_vga: bool
    firmware_machine: str


TARGETS: Mapping[Architecture, Target] = MappingProxyType(
    {
        Architecture.X86_64: Target(
            program="qemu-system-x86_64",
            machine="q35",
            emulated_cpu="max",
            panic="pvpanic",
            screen=("-vga", "std"),
            has_vga=True,
            firmware_machine="pc-q35-7.2",
        ),
        Architecture.AARCH64: Target(
            program="qemu-system-aarch64",
            # By default an interrupt controller for eight vCPUs at the most.
            machine="virt,gic-version=max",
            # Pointers signed as the architecture demands take half of the time under emulation.
            emulated_cpu="max,pauth-impdef=on",
            panic="pvpanic-pci",
            screen=("-device", "virtio-gpu-pci", "-device", "qemu-xhci", "-device", "usb-kbd"),
            has_vga=False,
            firmware_machine="virt-7.2",
        ),
    }
)
