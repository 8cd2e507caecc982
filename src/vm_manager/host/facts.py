"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.domain.host_facts import HostFacts

# ip-sysctl of the Linux kernel, ip_unprivileged_port_start; since Linux 4.11.
_FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_USUAL_FIRST_FREE_PORT = 1024


def read_host_facts() -> HostFacts:
    """Look at this machine. Never fails: where something cannot be found out, what is usual."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return HostFacts(cpus=_cpus(), memory_mib=memory // 1024**2, lowest_port=_lowest_port())


def _cpus() -> int:
    # The set of this process: `taskset` and containers narrow it down.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lowest_port() -> int:
    if os.geteuid() == 0:
        return 1
    try:
        return int(_FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        return _USUAL_FIRST_FREE_PORT


def booted_at() -> float | None:
    """When this machine was started, in seconds since the epoch; None where that cannot be found out. Source: proc(5)."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)
    except (OSError, ValueError):
        return None
