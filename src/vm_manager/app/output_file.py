"""Files that a command makes where the user says."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

from vm_manager.diagnostics.errors import Usage
from vm_manager.diagnostics.os_errors import diagnosed


def require_directory_of(target: Path) -> None:
    """Make sure that a file can be made there. Raises: `vmctl::usage`, `host::permission_denied`."""
    directory, named = target.parent, {"path": str(target), "directory": str(target.parent)}
    if not os.path.lexists(directory):
        help = f"create it first: `mkdir -p {shlex.quote(str(directory))}`"
        raise Usage("the directory {directory} does not exist", named, help=(help,))
    if not directory.is_dir():
        raise Usage("{directory} is not a directory", named, help=("choose a file in a directory",))
    if not os.access(directory, os.W_OK | os.X_OK):
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        raise diagnosed(OSError(errno.EROFS if read_only else errno.EACCES, ""), target)
