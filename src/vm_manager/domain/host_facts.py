"""What of the host matters for VMs, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """cpus: logical ones that may be used; memory_mib: all main memory, in MiB; lowest_port: that may be listened on."""

    cpus: int
    memory_mib: int
    lowest_port: int
