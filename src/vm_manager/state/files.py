"""Writing files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.owners import open_own

# <linux/fs.h> and <fcntl.h>
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100

#: What a write that was killed leaves behind.
TEMPORARY = ".*.tmp"


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


def write_atomically(path: Path, content: bytes, *, durable: bool = True, usual_mode: bool = False) -> None:
    """Replace a file's content as one step; the file is 0600. durable: the new content survives a power cut.

    usual_mode: the umask decides about the mode instead, as it does about what other programs write for the user.
    Raises: `host::disk_full`, `host::permission_denied`, `io`; the old content is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os_errors(path):
        try:
            _write_new(temporary, content, None if usual_mode else private, durable=durable)
            temporary.rename(path)
        except OSError as error:
            if error.filename == str(temporary):
                error.filename = str(path)
            raise
        finally:
            with suppress(OSError):
                temporary.unlink()
        if durable:
            sync_directory(path.parent)


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a new file with mode 0600 and, if it is to be durable, flush it to the disk. Raises: `OSError`."""
    _write_new(path, content, private, durable=durable)


def _write_new(path: Path, content: bytes, opener: Callable[[str, int], int] | None, *, durable: bool) -> None:
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=opener) as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def private(path: str, flags: int) -> int:
    """An opener for open(): files are 0600, whatever the umask, and ours: see `open_own`.

    Raises: `state::untrusted`; `OSError`.
    """
    descriptor = open_own(path, flags)
    if flags & os.O_CREAT:
        os.fchmod(descriptor, 0o600)
    return descriptor


def written_bytes(path: Path) -> int:
    """The space that a file takes up on the disk, in bytes; 0 when there is none."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def exchange(one: Path, other: Path) -> None:
    """Let two directories change their names in one step. Source: RENAME_EXCHANGE in renameat2(2).

    Raises: `OSError`, with EINVAL or ENOSYS where the file system cannot do that.
    """
    import ctypes  # `vmctl list` does without

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable: rename(2) alone is not, see fsync(2). Raises: `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
