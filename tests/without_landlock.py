"""Runs a command on a kernel that has no Landlock, as far as that command can tell: its first system call is not there."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LANDLOCK_CREATE_RULESET, _ENOSYS = 444, 38
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> None:
    """Execute the rest of the command line. Source: seccomp(2); struct sock_filter of <linux/filter.h>."""
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),  # the number of the system call
            (0x15, 0, 1, _LANDLOCK_CREATE_RULESET),
            (0x06, 0, 0, _ERRNO | _ENOSYS),
            (0x06, 0, 0, _ALLOW),
        )
    )
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()
    os.execvp(sys.argv[1], sys.argv[1:])


main()
