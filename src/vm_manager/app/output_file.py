"""Files that a command makes where the user says."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

from vm_manager.diagnostics.errors import Usage
from vm_manager.diagnostics.os_errors import diagnosed


def require_place(target: Path, *, over: bytes = b"") -> None:
    """Make sure that a new file can be made.

    over: what a file begins with that may be replaced; empty: none may be.
    Raises: `vmctl::usage`, also where there is a link or something that is no file; `host::permission_denied`.
    """
    directory, named = target.parent, {"path": str(target), "directory": str(target.parent)}
    if os.path.lexists(target) and not (over and _begins_with(target, over)):
        help = "choose another file name, or remove that file"
        raise Usage("{path} already exists", named, help=(help,))
    if not os.path.lexists(directory):
        help = f"create it first: `mkdir -p {shlex.quote(str(directory))}`"
        raise Usage("the directory {directory} does not exist", named, help=(help,))
    if not directory.is_dir():
        raise Usage("{directory} is not a directory", named, help=("choose a file in a directory",))
    if not os.access(directory, os.W_OK | os.X_OK):
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        raise diagnosed(OSError(errno.EROFS if read_only else errno.EACCES, ""), target)


def _begins_with(path: Path, head: bytes) -> bool:
    """Whether it is a plain file that does. A device is not even opened."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.read(descriptor, len(head)) == head
        finally:
            os.close(descriptor)
    except OSError:
        return False
