"""File systems whose files the kernel makes up while they are read, wherever they are mounted."""

from __future__ import annotations

import errno
import os
import sys
from functools import cache
from typing import Any

# Windows on processes, devices and the kernel itself. Source: <linux/magic.h>, and the sources of those that it lacks.
_MADE_UP = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0x62656570: "configfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0xCAFE4A11: "bpf",
    0xDE5E81E4: "efivarfs",
    0x6165676C: "pstore",
    0xF97CFF8C: "selinuxfs",
    0x43415D53: "smackfs",
    0x42494E4D: "binfmt_misc",
    0x7655821: "resctrl",
    0x65735543: "fusectl",
    0x6E736673: "nsfs",
    0x1CD1: "devpts",
    0x19800202: "mqueue",
}
# struct statfs has 120 bytes, on some machines fewer. It begins with the file system's type, whose lower half has the first
# four bytes wherever the machine is little-endian, or the type has no more than these.
_STATFS_BYTES = 256
# What file systems of others (FUSE), and large ones on small machines, answer; those above always say what they are.
_NOT_SAID = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW)


def made_up(file: int | str | os.PathLike[str]) -> str | None:
    """The kind of file system that a file is in, by descriptor or path, if the kernel makes up what is in it.

    Names say nothing about that: a second /proc may be mounted anywhere, as containers have that of their host.
    Source: statfs(2). Raises: `OSError`.
    """
    import ctypes

    buffer, libc = ctypes.create_string_buffer(_STATFS_BYTES), _libc()
    if (libc.fstatfs(file, buffer) if isinstance(file, int) else libc.statfs(os.fsencode(file), buffer)) != 0:
        number = ctypes.get_errno()
        if number in _NOT_SAID:
            return None
        raise OSError(number, os.strerror(number), None if isinstance(file, int) else os.fspath(file))
    return _MADE_UP.get(int.from_bytes(buffer.raw[:4], sys.byteorder))


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
