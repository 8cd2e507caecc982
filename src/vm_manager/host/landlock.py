"""Landlock: a thread gives up, for good and for every process that it starts, what it was not granted here.

Sources: landlock(7); the kernel's Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import IntFlag
from functools import cache
from pathlib import Path
from types import MappingProxyType

# The same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GIVE_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2


#: A file by its device and inode.
FileId = tuple[int, int]


class Access(IntFlag):
    """What is done to files: LANDLOCK_ACCESS_FS_*."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


class Net(IntFlag):
    """What is done with TCP ports: LANDLOCK_ACCESS_NET_*."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


# What each version of the interface brought: bits of Access from 0 on.
_KNOWN_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_BITS = 16
_NET_SINCE, _SCOPE_SINCE = 4, 6
# LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL: only processes of the same kind are reached.
_SCOPES = 3
_OF_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("access", ctypes.c_uint64), ("port", ctypes.c_uint64))


@cache
def landlock_version() -> int:
    """The version of the kernel's interface, from 1 on; 0 where there is none: not built in, not enabled, or forbidden."""
    with suppress(OSError):
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_GIVE_VERSION))
    return 0


def restrict_thread(
    files: Mapping[Path, Access],
    ports: Iterable[int] | None,
    *,
    connect: bool,
    pinned: Mapping[Path, FileId] = MappingProxyType({}),
) -> None:
    """Give up everything but this, for the calling thread and what it starts; other threads are as before.

    files: what may be done to a file, or to all below a directory; what is missing is left out. ports: that TCP may listen
    on, 0: any that the kernel picks; None: all. connect: whether TCP may connect to others. pinned: which file it has to be
    that is found under a name; another one is left out.
    Kernels before 5.19, 6.2, 6.7, 6.10 and 6.12 do not know all of it, and restrict what they know.
    The thread must have given up new privileges: see `give_up_privileges`.
    Raises: `OSError`.
    """
    version = landlock_version()
    known = Access((1 << _KNOWN_BITS.get(version, _LATEST_BITS)) - 1)
    net = (Net(0) if ports is None else Net.BIND_TCP) | (Net(0) if connect else Net.CONNECT_TCP)
    ruleset = _Ruleset(known, net if version >= _NET_SINCE else 0, _SCOPES if version >= _SCOPE_SINCE else 0)
    rules = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(ctypes.sizeof(ruleset)), ctypes.c_uint32(0))
    try:
        for path, access in files.items():
            _allow_path(rules, path, access & known, pinned.get(path))
        if version >= _NET_SINCE and ports is not None:
            for port in ports:
                _add(rules, _NET_PORT, _NetPort(Net.BIND_TCP, port))
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow_path(rules: int, path: Path, access: Access, pinned: FileId | None) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what this user does not reach, nothing that it starts does
    try:
        status = os.fstat(descriptor)
        if pinned not in (None, (status.st_dev, status.st_ino)):
            return
        # The kernel refuses a right to a file that only directories have.
        fitting = access if stat.S_ISDIR(status.st_mode) else access & _OF_FILES
        _add(rules, _PATH_BENEATH, _PathBeneath(fitting, descriptor))
    finally:
        os.close(descriptor)


def _add(rules: int, kind: int, rule: ctypes.Structure) -> None:
    _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(kind), ctypes.byref(rule), ctypes.c_uint32(0))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
