"""Who runs a VM: told by the lock that QEMU holds on its pid file, never by a bare pid.

Pids are reused; locks die with their holder.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# struct flock of fcntl(2) on 64-bit Linux.
_FLOCK = "@hhqqi4x"


def lock_owner(pid_file: Path) -> int | None:
    """The process that holds QEMU's lock on its pid file, or None when none does. Source: F_GETLK in fcntl(2)."""
    try:
        descriptor = os.open(pid_file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    finally:
        os.close(descriptor)
    return int(pid) if kind != fcntl.F_UNLCK else None
