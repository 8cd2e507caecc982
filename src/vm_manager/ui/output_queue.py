"""Output that never keeps its producer waiting: a thread writes it, and what it cannot write in time is dropped, oldest first."""

from __future__ import annotations

import os
import threading
from collections import deque
from types import TracebackType
from typing import Self

_LIMIT_BYTES = 8 * 1024 * 1024
_WRITE_BYTES = 16 * 1024


class OutputQueue:
    """Writes to a descriptor.

    descriptor: may block as long as it likes; it is not made non-blocking, since the shell's standard output is the same open
    file. limit_bytes: what is kept for it. last_s: how long, at the end, it may take no byte before the rest is given up.
    """

    def __init__(self, descriptor: int, last_s: float, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._descriptor, self._limit, self._last_s = descriptor, limit_bytes, last_s
        self._on_terminal = os.isatty(descriptor)
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self.dropped_bytes = 0
        self._writing = self._closing = False
        self._written = 0
        self._failure: OSError | None = None
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        #: Readable when a write has failed.
        self.failed, self._fail = os.pipe2(os.O_CLOEXEC)
        # A daemon: one that hangs in write(2) must not keep the process.
        self._writer = threading.Thread(target=self._work, daemon=True, name="output")
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.drain(self._last_s) or self._failure:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._writer.join()
            os.close(self.failed)
            os.close(self._fail)
        if error is None:
            self.raise_failure()

    def put(self, data: bytes) -> None:
        """Have it written. Never blocks."""
        with self._changed:
            self._chunks.append(data)
            self._size += len(data)
            while self._size > self._limit:
                self._drop()
            self._changed.notify_all()

    def put_on_terminal(self, data: bytes) -> None:
        """Have it written, if this is a terminal."""
        if self._on_terminal:
            self.put(data)

    def drain(self, patience_s: float) -> bool:
        """Return when all is written: True; or when nothing could be written for that many seconds."""
        with self._changed:
            while self._chunks or self._writing:
                before = self._written
                if self._failure or (not self._changed.wait(patience_s) and self._written == before):
                    return False
        return True

    def raise_failure(self) -> None:
        """Raises: `OSError` of the first write that failed."""
        if self._failure:
            raise self._failure

    def _drop(self) -> None:
        oldest = self._chunks.popleft()
        self._size -= len(oldest)
        self._lost += len(oldest)
        self.dropped_bytes += len(oldest)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._chunks:
                    if self._closing:
                        return
                    self._changed.wait()
                data = self._chunks.popleft()
                self._size -= len(data)
                notice, self._lost = self._notice(), 0
                self._writing = True
            if not self._write(notice + data):
                return

    def _notice(self) -> bytes:
        """What a terminal shows in place of what was dropped; in a file or a pipe it would pass for the guest's."""
        if not self._lost or not self._on_terminal:
            return b""
        return f"\r\n[vmctl: the terminal was too slow: dropped {self._lost} bytes]\r\n".encode()

    def _write(self, data: bytes) -> bool:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest[:_WRITE_BYTES]) :]
                with self._changed:
                    self._written += 1
        except OSError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
            os.write(self._fail, b"x")
            return False
        return True
