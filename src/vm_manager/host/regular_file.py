"""Image files that somebody names, opened only where they are files: a pipe would be waited for, and a device never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from vm_manager.diagnostics.errors import ImageRefused
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.file_systems import made_up

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_image(path: Path) -> BinaryIO:
    """Open a file for reading, at once. Raises: `image::refused` for what is none, `io`, `host::permission_denied`."""
    with os_errors(path):
        # Looked at before it is opened, which alone can wake a device; and again after, as it may be another one now.
        _require_regular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _require_regular(path, os.fstat(descriptor))
            if kind := made_up(descriptor):
                raise _refused(path, f"a virtual file of the kernel ({kind})")
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "rb", buffering=0)
        except BaseException:
            os.close(descriptor)
            raise


def require_image_file(path: Path) -> None:
    """Raises: see `open_image`."""
    open_image(path).close()


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for matches, name in _KINDS if matches(status.st_mode)), "no file")
        raise _refused(path, kind)


def _refused(path: Path, kind: str) -> ImageRefused:
    return ImageRefused(
        "{path} is {kind}, not an image file",
        {"path": str(path), "kind": kind},
        help=("use a regular file; copy other sources into one first",),
    )
