"""Who has an image open, by the locks that every QEMU and qemu-img takes on it.

Each permission is a byte of the file: whoever has it holds a shared lock there, and another one says that others must not have
it. Source: QEMU's block/file-posix.c, RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE; block/block-common.h for the permissions.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.errors import ImageRefused
from vm_manager.diagnostics.os_errors import os_errors

_PERMISSIONS, _FORBIDDEN, _WRITE = 100, 200, 1
# struct flock of 64 bits: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi4x")


def is_written_to(image: Path) -> bool:
    """Whether somebody may write to an image now. Raises: `OSError`."""
    return _is_locked(image, _PERMISSIONS + _WRITE)


def is_in_use(image: Path) -> bool:
    """Whether somebody has an image open so that nobody else can write to it. Raises: `OSError`."""
    return is_written_to(image) or _is_locked(image, _FORBIDDEN + _WRITE)


def require_unused(image: Path) -> None:
    """Make sure that nobody writes to an image that a disk is to stand on. Raises: `image::refused`."""
    with os_errors(image):
        if not is_written_to(image):
            return
    who = ", ".join(users(image)) or "a process of another user"
    raise ImageRefused(
        "the image {path} is open for writing in {who}",
        {"path": str(image), "who": who},
        help=("stop that first: the disk of a VM stands on its image, which must not change any more",),
    )


def users(image: Path) -> tuple[str, ...]:
    """The processes that have a file open, as far as this user may see: "qemu-system-x86 (pid 4711)"."""
    with suppress(OSError):
        status = image.stat()
        return tuple(_processes((status.st_dev, status.st_ino)))
    return ()


def _processes(file: tuple[int, int]) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or process.name == str(os.getpid()):
            continue
        with suppress(OSError):  # it has ended, or is another user's
            found = ((status.st_dev, status.st_ino) for status in map(os.stat, (process / "fd").iterdir()))
            if file in found:
                yield f"{(process / 'comm').read_text().strip()} (pid {process.name})"


def _is_locked(image: Path, byte: int) -> bool:
    descriptor = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        found, *_ = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    finally:
        os.close(descriptor)
    return bool(found != fcntl.F_UNLCK)
