"""Whether a process gets the CPU when it could use it."""

from __future__ import annotations

import os
import subprocess
from functools import partial

from driver import wait_for
from vm_manager.host.scheduling import waited_for_cpu_s


def _has_waited(pid: int) -> bool:
    return waited_for_cpu_s(pid) > 0.1


def test_of_two_that_share_a_cpu_each_waits() -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    both = [subprocess.Popen(["taskset", "--cpu-list", cpu, "sh", "-c", "while :; do :; done"]) for _ in range(2)]
    try:
        for one in both:
            wait_for(partial(_has_waited, one.pid), "it waited")
    finally:
        for one in both:
            one.kill()
            one.wait()
    assert waited_for_cpu_s(both[0].pid) == 0
    assert waited_for_cpu_s(None) == 0
