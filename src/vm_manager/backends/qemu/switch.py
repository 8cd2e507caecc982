"""A small Ethernet switch for the VMs of one private network, without root.

Each QEMU sends its frames as datagrams to one socket of the network's directory, and hears at a socket of its own (`-netdev
dgram`). The keeper beside each QEMU is ready to be the switch: whoever holds the lock is it, and when that one's VM ends,
another keeper takes the lock, and the socket's name. QEMU names the socket anew with every frame, so nobody has to connect
again. Nobody else gets in: the directories are this user's alone.

Paths are seen from a VM's directory, in which both QEMU and its keeper run: a UNIX socket's path may have 108 bytes only.
Frames come from guests: of each no more is believed than the two addresses at its head.
Sources: IEEE 802.1D, "The Forwarding Process"; qemu(1), `-netdev dgram`; unix(7).
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections import deque
from contextlib import suppress

#: In a network's directory: where the switch hears, and what whoever is it holds. No VM can be called that.
SWITCH_SOCKET, _LOCK = ".switch", ".lock"
# A frame of Ethernet with a tag has 1518 bytes; QEMU hands over larger ones only where a guest was told that it may.
_FRAME_BYTES = 70_000
_HEADER_BYTES = 14
# Of a network's stations, and of frames that wait for one that is slow.
_STATIONS = 4096
_WAITING = 512
_FRAMES_AT_ONCE = 64
# How often new ports are looked for. One that has said something is known at once.
_RESCAN_S = 1.0
_PORT = re.compile(r"[A-Za-z0-9-]+/[0-9]{1,2}")


class Switch:
    """The switch of one network, as long as this process is it. directory: the network's, seen from a VM's."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._lock = os.open(f"{directory}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._listener: socket.socket | None = None
        self._ports: dict[str, _Port] = {}
        self._stations: dict[bytes, str] = {}
        self._scanned = 0.0

    def take(self) -> None:
        """Become the switch, unless somebody is it already."""
        if self.serves:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        path = f"{self._directory}/{SWITCH_SOCKET}"
        with suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.setblocking(False)
        listener.bind(path)
        os.chmod(path, 0o600)
        self._listener = listener

    @property
    def serves(self) -> bool:
        """Whether this process is the switch."""
        return self._listener is not None

    @property
    def readers(self) -> list[int]:
        """The descriptors that are to be waited for to be readable."""
        return [self._listener.fileno()] if self._listener else []

    @property
    def writers(self) -> list[int]:
        """The descriptors that are to be waited for to be writable."""
        return [port.socket.fileno() for port in self._ports.values() if port.waiting]

    def serve(self) -> None:
        """Hand on what has come, and what has waited."""
        for path, port in list(self._ports.items()):
            if port.waiting and not port.flush():
                self._drop(path)
        if self._listener is None:
            return
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame, sender = self._listener.recvfrom(_FRAME_BYTES)
            except OSError:
                return
            self._forward(frame, sender)

    def close(self) -> None:
        """Stop being the switch, or being ready to be it."""
        for path in list(self._ports):
            self._drop(path)
        if self._listener is not None:
            self._listener.close()
        os.close(self._lock)

    def _forward(self, frame: bytes, sender: str | bytes | None) -> None:
        if len(frame) < _HEADER_BYTES or not isinstance(sender, str) or self._port(sender) is None:
            return
        destination, source = frame[:6], frame[6:12]
        if not source[0] & 1 and (source in self._stations or len(self._stations) < _STATIONS):
            self._stations[source] = sender
        known = None if destination[0] & 1 else self._stations.get(destination)
        if known is None:
            self._scan()
        for path in (known,) if known else tuple(self._ports):
            if path != sender:
                self._hand(path, frame)

    def _hand(self, path: str, frame: bytes) -> None:
        # A QEMU that was started anew hears at another socket of that name.
        for _ in range(2):
            port = self._port(path)
            if port is None or port.send(frame):
                return
            self._drop(path)

    def _port(self, path: str) -> _Port | None:
        """The port whose QEMU hears at a socket; None for what is none of this network's, or hears no more."""
        if path in self._ports:
            return self._ports[path]
        if not path.startswith(f"{self._directory}/") or not _PORT.fullmatch(path, len(self._directory) + 1):
            return None
        with suppress(OSError):
            self._ports[path] = _Port(path)
        return self._ports.get(path)

    def _scan(self) -> None:
        """Find the ports that have said nothing yet."""
        if time.monotonic() < self._scanned + _RESCAN_S:
            return
        self._scanned = time.monotonic()
        with suppress(OSError):
            for vm in os.listdir(self._directory):
                if "." not in vm and os.path.isdir(f"{self._directory}/{vm}"):
                    for number in os.listdir(f"{self._directory}/{vm}"):
                        self._port(f"{self._directory}/{vm}/{number}")

    def _drop(self, path: str) -> None:
        self._ports.pop(path).socket.close()


class _Port:
    """A QEMU that hears. Connected, as only then the kernel tells when it can take more."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.waiting: deque[bytes] = deque(maxlen=_WAITING)
        self.socket.setblocking(False)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise

    def send(self, frame: bytes) -> bool:
        """Hand over a frame, now or when there is room, or lose it as networks do. Returns whether anybody hears."""
        if len(self.waiting) < _WAITING:
            self.waiting.append(frame)
        return self.flush()

    def flush(self) -> bool:
        """Hand over what waits, as far as there is room. Returns whether anybody hears."""
        while self.waiting:
            try:
                self.socket.send(self.waiting[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.waiting.popleft()
        return True
