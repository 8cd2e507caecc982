"""What is in a large file: its SHA-256, computed beside other work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

_PIECE_BYTES = 1024 * 1024

#: What changes when a file does, or another takes its place: device, inode, size, and the times of its last changes.
FileMark = tuple[int, int, int, int, int]


def mark_of(status: os.stat_result) -> FileMark:
    """The mark of a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_digest(path: Path, go_on: Callable[[], object] = lambda: None) -> tuple[str, FileMark]:
    """`sha256:…` of a file, and the mark that it had before and after. go_on: called now and then; what it raises ends it.

    Raises: `OSError`, also when the file changes meanwhile.
    """
    digest, piece = hashlib.sha256(), bytearray(_PIECE_BYTES)
    with open(path, "rb", buffering=0) as file:
        before = mark_of(os.fstat(file.fileno()))
        while count := file.readinto(piece):
            go_on()
            digest.update(memoryview(piece)[:count])
        if mark_of(os.fstat(file.fileno())) != before:
            raise OSError(f"{path} changes while it is read")
    return f"sha256:{digest.hexdigest()}", before


class Digesting:
    """The digest of a file, on its way in a thread of its own, which nobody has to wait for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: tuple[str, FileMark] | None = None
        self._thread = Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def result(self, wait_s: float) -> tuple[str, FileMark] | None:
        """The digest with the file's mark; None when it is not there in time, or the file could not be read."""
        self._thread.join(wait_s)
        return self._found

    def _run(self) -> None:
        # Whoever needs the file will say why it cannot be read.
        with suppress(OSError):
            self._found = content_digest(self._path)
