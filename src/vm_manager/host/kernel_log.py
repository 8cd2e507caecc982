"""What the host's kernel says of a process that it killed for lack of memory."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

KERNEL_LOG = Path("/dev/kmsg")
_RECORD_BYTES = 8192
# Both forms, of the whole host and of a control group: "Out of memory: Killed process 7 (…", "Memory cgroup out of …".
_KILLED = re.compile(r"out of memory: Killed process (\d+) ", re.IGNORECASE)


def out_of_memory_kill(pid: int, since: float, log: Path = KERNEL_LOG) -> tuple[float, str] | None:
    """When the kernel killed this process for lack of memory, and its own words; None when it did not say so.

    since: seconds since the epoch, as is the time returned; what is older concerns another process with that number.
    Raises: `OSError` where the log may not be read. Source: Documentation/ABI/testing/dev-kmsg.
    """
    booted = time.time() - time.monotonic()
    descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while record := _next_record(descriptor):
            head, _, text = record.partition(";")
            killed = _KILLED.search(text)
            if killed and int(killed[1]) == pid:
                when = booted + int(head.split(",")[2]) / 1e6
                # The kernel's clock of its log is not quite the other one.
                if when >= since - 5:
                    return when, text.splitlines()[0]
    finally:
        os.close(descriptor)
    return None


def _next_record(descriptor: int) -> str:
    while True:
        try:
            return os.read(descriptor, _RECORD_BYTES).decode(errors="replace")
        except BrokenPipeError:
            continue  # overwritten while we read: go on with the oldest that is left
        except BlockingIOError:
            return ""
