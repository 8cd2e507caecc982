"""A TCP port of 127.0.0.1 that leads to a UNIX socket, for programs that know TCP only."""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import closing, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
# Of one that stopped reading nothing more is taken for it.
_STALLED_S = 60.0


class Relay(ThreadingTCPServer):
    """Serves in `serve_forever` who connects to a socket that listens, and closes it in the end; a context manager."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, path: Path) -> None:
        self.path = path
        super().__init__(listener.getsockname(), _Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


class _Connection(BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        # The machine may be gone, or whoever is connected: its connection ends, and the next one is served.
        with suppress(OSError), closing(socket.socket(socket.AF_UNIX)) as there:
            there.settimeout(_CONNECT_TIMEOUT_S)
            _connect(there, self.server.path)
            self.request.settimeout(_STALLED_S)
            there.settimeout(_STALLED_S)
            _copy(self.request, there)


def _connect(connection: socket.socket, path: Path) -> None:
    """By way of its directory: a socket's path may have 108 bytes only, see unix(7)."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def _copy(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(_CHUNK)
                if not data:
                    return
                key.data.sendall(data)
