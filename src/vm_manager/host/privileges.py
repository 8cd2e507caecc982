"""Privileges that a thread gives up for every process that it starts. Sources: prctl(2), capabilities(7), capset(2)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_DAC_OVERRIDE, _CAP_NET_BIND_SERVICE = 1, 10
# _LINUX_CAPABILITY_VERSION_3: two words for each set.
_CAPABILITY_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def give_up_privileges(*, low_ports: bool = False) -> None:
    """No set-user-id program gives anything any more, and root keeps but one capability: CAP_DAC_OVERRIDE.

    That one is kept because root starts VMs whose images belong to others; the sandbox says which files that applies to.
    low_ports: with CAP_NET_BIND_SERVICE, too, for the ports that are root's.
    Threads have privileges of their own: the rest of vmctl keeps its.
    Raises: `OSError`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if os.geteuid() != 0:
        return
    keep = (_CAP_DAC_OVERRIDE, *((_CAP_NET_BIND_SERVICE,) if low_ports else ()))
    for capability in range(_last_capability() + 1):
        if capability not in keep:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # what cannot be dropped is no longer there
    with suppress(OSError):  # from Linux 4.3 on
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    held = (_Sets * 2)()
    header = _Header(_CAPABILITY_VERSION, 0)
    _check(libc.capget(ctypes.byref(header), held))
    kept = sum(1 << capability for capability in keep) & held[0].permitted
    _check(libc.capset(ctypes.byref(header), (_Sets * 2)(_Sets(kept, kept, 0), _Sets(0, 0, 0))))


def _last_capability() -> int:
    try:
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    except (OSError, ValueError):
        return 63


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
