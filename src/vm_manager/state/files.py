"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.diagnostics.os_errors import os_errors


def make_dir(path: Path) -> None:
    """Create a directory, and its parents, for this user alone (0700 under any umask). Idempotent."""
    with os_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content as one step that survives a power cut; the file is 0600.

    Raises: `host::disk_full`, `host::permission_denied`, `io`; the old content is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os_errors(path):
        try:
            write_private(temporary, content)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)


def write_private(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600 and flush it to the disk. Raises: `OSError`."""
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable: rename(2) alone is not, see fsync(2). Raises: `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
