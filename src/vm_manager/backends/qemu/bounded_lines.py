"""Lines from a socket of QEMU's, from behind which a guest may speak: so many bytes altogether, and so long altogether."""

from __future__ import annotations

import socket
import time

_READ_BYTES = 64 * 1024


class BoundedLines:
    """What comes from a connection.

    timeout_s: from now on, for everything. most_bytes: for everything.
    """

    def __init__(self, connection: socket.socket, timeout_s: float, most_bytes: int) -> None:
        self._connection, self._left = connection, most_bytes
        self._ends = time.monotonic() + timeout_s
        self._buffer = bytearray()

    def next_line(self) -> bytes:
        """The next line, without its end. Raises: `OSError` when there is none or not in time, `ValueError` for too much."""
        return self.up_to(b"\n")

    def up_to(self, mark: bytes) -> bytes:
        """What comes before the next such byte. Raises: see `next_line`."""
        looked = 0
        while (at := self._buffer.find(mark, looked)) < 0:
            looked = len(self._buffer)
            self._buffer += self._receive()
        found = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return found

    def send(self, data: bytes) -> None:
        """Send all of it. Raises: `OSError`, also when it is not taken in time."""
        self._connection.settimeout(self._remaining())
        self._connection.sendall(data)

    def _receive(self) -> bytes:
        self._connection.settimeout(self._remaining())
        data = self._connection.recv(_READ_BYTES)
        if not data:
            raise ConnectionAbortedError("the other side closed the connection")
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the other side sent too much data")
        return data

    def _remaining(self) -> float:
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the other side did not answer in time")
        return remaining
