"""The operating system's refusals, translated once, where vmctl touches files of its own."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from vm_manager.diagnostics.errors import DiskFull, IoFailed, PermissionDenied, VmError


def diagnosed(error: OSError, path: str | PathLike[str]) -> VmError:
    """The failure that an `OSError` on `path` is: `host::disk_full`, `host::permission_denied` or `io`."""
    name = {"path": str(error.filename or path)}
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull("no space left for {path}", name, help=(free_space_help(os.path.dirname(name["path"])),))
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PermissionDenied("access to {path} is not allowed", name)
        case _:
            return IoFailed("{path} cannot be used", name)


def free_space_help(directory: str | PathLike[str]) -> str:
    """What to do about a full disk. directory: one on it; empty: it is not known."""
    if not (place := os.fspath(directory)):
        return "free some disk space"
    return f"free some disk space (`df -h {shlex.quote(place)}` shows how much is left)"


@contextmanager
def os_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Translate every `OSError` of the block; `path` is named where the error itself names no file."""
    try:
        yield
    except OSError as error:
        raise diagnosed(error, path) from error
