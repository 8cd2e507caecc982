"""How much is kept of a log, and how it begins anew.

The standard library's lightest modules only: the keeper of each running VM loads this into a bare interpreter.
"""

from __future__ import annotations

import os
from contextlib import suppress

#: The size in bytes from which on a log begins anew.
CAP_BYTES = 4 * 1024 * 1024
#: How many earlier logs are kept: `console.log.1` is the newest, `.3` the oldest.
KEPT = 3
#: Near the beginning of a log that was cut while it was written to: the log numbered 1 has what came before.
CUT_MARK = b"--- vmctl: this log had grown too large; what came before is in the one numbered 1 ---\n"
_MARK_WITHIN = 64 * 1024  # the writer may be quicker than the mark
_COPY_BYTES = 1024 * 1024
# Through no link, and waiting for nobody at a pipe. `domain.owners` is too heavy for the keeper.
_OURS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LOST_MARK = b"--- vmctl: this log had grown too large; what came before could not be kept ---\n"


def earlier(path: str, number: int) -> str:
    """The name of an earlier log: `console.log.1`."""
    return f"{path}.{number}"


def rotate(path: str) -> None:
    """Make the log the newest of the earlier ones; an empty one, or none, pushes nothing out.

    For a log that nobody writes to now. Interrupted anywhere it leaves a gap between the numbers and loses nothing.
    Raises: `OSError`.
    """
    if _size(path):
        _make_room(path)
        os.rename(path, earlier(path, 1))


def cut(path: str, cap_bytes: int = CAP_BYTES) -> bool:
    """Begin a log anew that another process holds open, when it has outgrown the cap; True when it had.

    The writer's descriptor stays the same: its end is copied away (as much of it as the cap) and the file is truncated in
    place, after which a writer with O_APPEND goes on at its beginning. What is written in between is lost. On a full disk
    nothing is kept: making room comes first. Raises: `OSError`.
    """
    log = os.open(path, os.O_RDWR | os.O_APPEND | _OURS)
    try:
        status = os.fstat(log)
        # A writer without O_APPEND leaves a hole before its position: what the file takes is what counts.
        if min(status.st_size, status.st_blocks * 512) <= cap_bytes:
            return False
        kept = _keep_end(log, path, status.st_size, cap_bytes)
        os.ftruncate(log, 0)
        os.write(log, CUT_MARK if kept else _LOST_MARK)
        return True
    finally:
        os.close(log)


def pieces(path: str) -> list[str]:
    """The files that make up the current log, oldest first: itself, and the earlier ones that were cut off it."""
    found = [path]
    for number in range(1, KEPT + 1):
        if not _was_cut(found[0]) or not os.path.exists(earlier(path, number)):
            break
        found.insert(0, earlier(path, number))
    return found


def _keep_end(log: int, path: str, size: int, cap_bytes: int) -> bool:
    """Copy the last bytes of a log into the newest of the earlier ones, which appears complete or not at all."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.cut")
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of a keeper that was killed
    copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OURS, 0o600)
    try:
        position = max(0, size - cap_bytes)
        # The mark of an earlier cut stays in front, or the pieces before it would not be found.
        if position and CUT_MARK in os.pread(log, _MARK_WITHIN, 0):
            os.write(copy, CUT_MARK)
        # What is written meanwhile comes along, unless it comes so fast that there would be no end to it.
        while position < size + cap_bytes and (sent := os.sendfile(copy, log, position, _COPY_BYTES)):
            position += sent
        _make_room(path)
        os.rename(temporary, earlier(path, 1))
    except OSError:
        os.unlink(temporary)
        return False
    finally:
        os.close(copy)
    return True


def _make_room(path: str) -> None:
    for number in range(KEPT, 1, -1):
        with suppress(FileNotFoundError):
            os.rename(earlier(path, number - 1), earlier(path, number))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _was_cut(path: str) -> bool:
    try:
        log = os.open(path, os.O_RDONLY | _OURS)
    except FileNotFoundError:
        return False
    try:
        return CUT_MARK in os.pread(log, _MARK_WITHIN, 0)
    finally:
        os.close(log)
