"""What the host and the backend make of it."""

from __future__ import annotations

from vm_manager.domain.architecture import DEFAULT_ARCHITECTURE, Architecture, host_architecture, is_foreign
from vm_manager.domain.network import NetworkMode
from vm_manager.domain.platform import Platform
from vm_manager.domain.spec import Accelerator, Firmware
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.problems import Problems

_MIB = 1024**2


def _enough_cpus(vm: Block, platform: Platform, problems: Problems) -> None:
    vcpus = vm.get("vcpus", int)
    if vcpus and vcpus.value > platform.host.cpus:
        problems.warn(
            vcpus.span, f"more vcpus than this host has CPUs: {platform.host.cpus}", "they would share its CPUs",
            f"write vcpus {platform.host.cpus} or less",
        )  # fmt: skip


# QEMU's models without long mode: their definitions in target/i386/cpu.c have no CPUID_EXT2_LM.
_32_BIT = ("486", "pentium", "pentium2", "pentium3", "coreduo", "n270", "athlon", "kvm32", "qemu32")


def _architecture(vm: Block) -> Architecture:
    return Architecture(vm.value("arch", str, DEFAULT_ARCHITECTURE))


def _is_emulated(vm: Block, platform: Platform, problems: Problems) -> None:
    arch = _architecture(vm)
    if not is_foreign(arch):
        return
    accel, cpu = vm.get("accel", str), vm.get("cpu", str)
    for word, demands_host in ((accel, Accelerator.KVM), (cpu, "host")):
        if word and word.value == demands_host:
            problems.add(
                word.span, f"an {arch} guest under KVM on a host that is {host_architecture() or 'not'}",
                "only for guests of the host's own architecture", "remove it: the guest is emulated",
            )  # fmt: skip


def _has_that_firmware(vm: Block, platform: Platform, problems: Problems) -> None:
    firmware, arch = vm.get("firmware", str), _architecture(vm)
    if firmware and firmware.value == Firmware.BIOS and arch is not Architecture.X86_64:
        problems.add(
            firmware.span,
            f"{arch} machines have no BIOS",
            "always UEFI",
            f'write firmware "{Firmware.UEFI}", or remove it',
        )


def _64_bit(vm: Block, platform: Platform, problems: Problems) -> None:
    cpu = vm.get("cpu", str)
    if cpu and _architecture(vm) is Architecture.X86_64 and cpu.value.split(",")[0] in _32_BIT:
        problems.warn(
            cpu.span, "a CPU model without 64-bit mode", "64-bit guests do not boot on it",
            'for a 64-bit guest, remove it, or write cpu "qemu64"',
        )  # fmt: skip


def _enough_memory(vm: Block, platform: Platform, problems: Problems) -> None:
    memory = vm.get("memory", int)
    if memory and memory.value // _MIB > platform.host.memory_mib:
        problems.warn(
            memory.span, f"more memory than this host has: {platform.host.memory_mib} MiB", "unlikely to start",
            f"write less than {platform.host.memory_mib}",
        )  # fmt: skip


def _known_networks(vm: Block, platform: Platform, problems: Problems) -> None:
    for network in vm.all("network"):
        mode = network.values[0] if network.values else None
        if mode and NetworkMode(network.text) not in platform.capabilities.networks:
            problems.add(
                mode.span, f'the backend {platform.backend} has no network "{network.text}"', "not on this backend",
                f"write one of: {', '.join(sorted(platform.capabilities.networks))}; or choose a backend: --backend",
            )  # fmt: skip


def _mounts(vm: Block, platform: Platform, problems: Problems) -> None:
    if not platform.capabilities.mounts:
        for mount in vm.all("mount"):
            problems.add(
                mount.name_span, f"the backend {platform.backend} mounts no directories", "not on this backend",
                "remove it, or choose another backend: --backend",
            )  # fmt: skip


PLATFORM_RULES = (_enough_cpus, _is_emulated, _has_that_firmware, _64_bit, _enough_memory, _known_networks, _mounts)
