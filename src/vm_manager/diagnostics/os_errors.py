"""The operating system's refusals, translated once, where vmctl touches files of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from vm_manager.diagnostics.errors import DiskFull, IoFailed, PermissionDenied, VmError


def diagnosed(error: OSError, path: str | PathLike[str]) -> VmError:
    """The failure that an `OSError` on `path` is: `host::disk_full`, `host::permission_denied` or `io`."""
    name = {"path": str(error.filename or path)}
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            place = os.path.dirname(name["path"])
            look = (f"free space there: `df -h '{place}'` shows how much there is",) if place else ("free space there",)
            return DiskFull("no space left for {path}", name, help=look)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PermissionDenied("access to {path} is not allowed", name)
        case _:
            return IoFailed("{path} cannot be used", name)


@contextmanager
def os_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Translate every `OSError` of the block; `path` is named where the error itself names no file."""
    try:
        yield
    except OSError as error:
        raise diagnosed(error, path) from error
