"""Where a machine's vCPUs are: still in firmware or a boot loader, or in an operating system.

Source: QEMU's target/i386/cpu-dump.c for the form; Documentation/arch/x86/x86_64/mm.rst of the Linux kernel for the addresses.
"""

from __future__ import annotations

import re

from vm_manager.domain.instance import Execution

# `RIP=ffffffff81e0b5ee RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1`; EIP outside of 64-bit code.
_PLACE = re.compile(r"^([RE]IP)=([0-9a-f]+) .*\bCPL=(\d)", re.MULTILINE)
_KERNELS_64, _KERNELS_32 = 0xFFFF_8000_0000_0000, 0x8000_0000
_HALTED = re.compile(r"\bHLT=([01])")
_PAGED = re.compile(r"^CR0=([89a-f])[0-9a-f]{7} ", re.MULTILINE)


def execution_of(registers: str) -> Execution | None:
    """What the registers of all vCPUs tell; None when there are none in the text."""
    places = _PLACE.findall(registers)
    if not places:
        return None
    paged = bool(_PAGED.search(registers))
    in_system = any(
        ring == "3" or int(address, 16) >= (_KERNELS_64 if kind == "RIP" else _KERNELS_32)
        for kind, address, ring in places
    )
    # Firmware lies below 4 GiB, and runs there without paging or in 64-bit code.
    idle = set(_HALTED.findall(registers)) == {"1"}
    return Execution(tuple(int(address, 16) for _, address, _ in places), paged and in_system, idle)
