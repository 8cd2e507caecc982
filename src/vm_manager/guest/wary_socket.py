"""The connection to an SSH server that is not trusted: what it may send, and until when, before anybody is logged in.

paramiko waits for each byte anew, and takes a packet of 4 GiB, a line without end and messages without number for what they
say they are. Underneath it is the one place where all of that can be counted.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vm_manager.domain.deadline import Deadline

# Key exchange, banners and the login of OpenSSH take some 10 KiB.
_LOGIN_BYTES = 1024**2
# OpenSSH takes 256 KiB for the most that a packet may have; RFC 4253, section 6.1, asks for 35,000 bytes.
_PACKET_BYTES = 512 * 1024
#: paramiko's window is 2 MiB for each channel; a server that heeds it never has more under way.
UNREAD_BYTES = 16 * 1024**2


class TooMuchData(OSError):
    """The server sent more than it may, or not in time. Translated in guest.ssh, like every loss of a connection."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EMSGSIZE, what)  # paramiko's thread takes both apart


class WarySocket:
    """A socket as paramiko uses it. login_bytes: what may come before `trust`; heard_bytes: what has come."""

    def __init__(self, connection: socket.socket, login_bytes: int = _LOGIN_BYTES) -> None:
        self._connection = connection
        self._left: int | None = login_bytes
        self._unread: Callable[[], int] | None = None
        self._closed = False  # paramiko looks at it
        self.heard_bytes = 0

    def trust(self) -> None:
        """Somebody is logged in: from now on any number of bytes may come, but no packet without end."""
        self._left = None

    def watch(self, unread: Callable[[], int]) -> None:
        """Take no more while more than `UNREAD_BYTES` of what has come have not been read. unread: how many those are."""
        self._unread = unread

    def recv(self, size: int) -> bytes:
        """Up to that many bytes. Raises: `TooMuchData`."""
        if size > _PACKET_BYTES:
            raise TooMuchData(f"the server announced a packet of {size} bytes")
        if self._unread is not None and self._unread() > UNREAD_BYTES:
            raise TooMuchData("the server sent more data than requested")
        data = self._connection.recv(size)
        self.heard_bytes += len(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise TooMuchData("the server sent too much data before login")
        return data

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken."""
        return self._connection.send(data)

    def settimeout(self, seconds: float | None) -> None:
        """How long `recv` and `send` wait."""
        self._connection.settimeout(seconds)

    def gettimeout(self) -> float | None:
        """How long `recv` and `send` wait."""
        return self._connection.gettimeout()

    def fileno(self) -> int:
        """The descriptor."""
        return self._connection.fileno()

    def getpeername(self) -> object:
        """The server's address."""
        return self._connection.getpeername()

    def close(self) -> None:
        """Close it."""
        self._closed = True
        self._connection.close()


@contextmanager
def ended_at(deadline: Deadline, connection: socket.socket) -> Iterator[None]:
    """Shut a connection down under whoever waits for it, when the time is up or the wait is cancelled.

    Raises: `vmctl::interrupted` when it has been cancelled before.
    """

    def shut_down() -> None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline.within(threading.TIMEOUT_MAX), shut_down)
    timer.daemon = True
    with deadline.cancel.calling(shut_down):
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
