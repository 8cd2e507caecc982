"""Reading a log from its end while it grows, is cut and is rotated. What is in it is a guest's: of any length, in any bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vm_manager.domain.owners import open_own
from vm_manager.state.log_rotation import pieces

_CHUNK = 64 * 1024
#: Of a longer line only the beginning is handed out.
LINE_BYTES = 4096


class LogReader:
    """Hands out a log line by line.

    lines: of what is there at the beginning, the last ones only; None: all.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self._path, self._lines = path, lines
        self._file: int | None = None
        self._offset = 0
        self._line = _Line()
        #: How much has been read so far, of all the files that had this name.
        self.bytes_read = 0

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def read(self) -> Iterator[str]:
        """The lines that have been completed since the last time. Raises: `OSError`."""
        if self._file is None:
            yield from self._begin()
        while self._file is not None:
            status = os.fstat(self._file)
            if status.st_size < self._offset:  # cut while it was written to
                yield from self.rest()
                self._offset = 0
            # Only up to where it ends now: who floods it must not keep us here.
            yield from self._read_to(status.st_size)
            if not self._replaced(status):
                return
            yield from self.rest()
            self.close()
            self._open(self._path)

    def rest(self) -> Iterator[str]:
        """The last line, as far as it has been written."""
        if self._line:
            yield self._line.take()

    def _begin(self) -> Iterator[str]:
        files, found = pieces(str(self._path)), 0
        starts: list[tuple[str, int]] = []
        for file in reversed(files):
            offset, count = _last_lines(file, None if self._lines is None else self._lines - found)
            starts.insert(0, (file, offset))
            found += count
            if self._lines is not None and found >= self._lines:
                break
        self._lines = None  # a log that appears later is new from its beginning
        for file, offset in starts:
            self.close()
            self._open(Path(file))
            self._offset = offset
            if self._file is not None and file != str(self._path):
                yield from self._read_to(os.fstat(self._file).st_size)

    def _open(self, path: Path) -> None:
        self._offset = 0
        try:
            self._file = open_own(path, os.O_RDONLY)
        except FileNotFoundError:
            self._file = None

    def _read_to(self, end: int) -> Iterator[str]:
        while self._file is not None and self._offset < end:
            data = os.pread(self._file, min(_CHUNK, end - self._offset), self._offset)
            if not data:
                return
            self._offset += len(data)
            self.bytes_read += len(data)
            *complete, last = data.split(b"\n")
            for part in complete:
                self._line.add(part)
                yield self._line.take()
            self._line.add(last)

    def _replaced(self, status: os.stat_result) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False  # between two names, or removed
        return (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino)


class _Line:
    """A line of which only so much is kept."""

    def __init__(self) -> None:
        self._kept, self._length = bytearray(), 0

    def __bool__(self) -> bool:
        return self._length > 0

    def add(self, part: bytes) -> None:
        self._kept += part[: LINE_BYTES - len(self._kept)]
        self._length += len(part)

    def take(self) -> str:
        text, left_out = self._kept.decode(errors="replace"), self._length - len(self._kept)
        self._kept, self._length = bytearray(), 0
        return f"{text} … ({left_out} more bytes)" if left_out else text


def _last_lines(path: str, lines: int | None) -> tuple[int, int]:
    """Where the last lines of a file begin, and how many there are of them; an unfinished one counts."""
    if lines is None:
        return 0, 0
    try:
        file = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0, 0
    try:
        end = os.fstat(file).st_size
        if lines <= 0:
            return end, 0
        position, found = end, 0
        while position > 0:
            start = max(0, position - _CHUNK)
            data = os.pread(file, position - start, start)
            at = len(data)
            while (at := data.rfind(b"\n", 0, at)) >= 0:
                # The one at the very end closes the last line and opens none.
                if start + at + 1 < end:
                    found += 1
                    if found == lines:
                        return start + at + 1, found
            position = start
        return 0, found + 1 if end else 0
    finally:
        os.close(file)
