"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.os_errors import os_errors


def make_dir(path: Path) -> None:
    """Create a directory, and its parents, for this user alone (0700 under any umask). Idempotent."""
    with os_errors(path):
        if path.is_dir():
            return
        # One by one: mkdir(parents=True) gives its mode to the last directory only.
        make_dir(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            path.chmod(0o700)  # a umask may have taken the owner's rights, too


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
    with open(path, "xb", opener=private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def private(path: str, flags: int) -> int:
    """An opener for open(): files are 0600, whatever the umask."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        os.fchmod(descriptor, 0o600)
    return descriptor


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable: rename(2) alone is not, see fsync(2). Raises: `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
