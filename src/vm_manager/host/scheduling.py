"""Whether a process gets the CPU when it could use it. Source: the Linux kernel's Documentation/scheduler/sched-stats.rst."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_NANOSECONDS = 1_000_000_000


def waited_for_cpu_s(pid: int | None) -> float:
    """For how many seconds that thread of a process which waited longest was ready to run, and others had the CPUs.

    0 where the kernel does not count it, or there is no such process. Never fails.
    """
    waited = 0
    with suppress(OSError, ValueError, IndexError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended meanwhile
                waited = max(waited, int((thread / "schedstat").read_text().split()[1]))
    return waited / _NANOSECONDS
