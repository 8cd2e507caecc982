"""What this machine has."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.host.facts import read_host_facts


def test_the_facts_are_those_of_the_kernel() -> None:
    facts = read_host_facts()
    total_kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.memory_mib == total_kib // 1024


def test_root_may_listen_on_every_port() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert read_host_facts().lowest_port == (1 if os.geteuid() == 0 else lowest)
