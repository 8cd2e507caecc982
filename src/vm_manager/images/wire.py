"""The connections below urllib3, so that they can be ended from outside: whatever is waited for, even a head without end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool


class Wire:
    """The connections of one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._ended = False

    def opened(self, connection: socket.socket) -> socket.socket:
        """Note a connection, which is the caller's as before."""
        with self._lock:
            # Of our own: TLS makes another object of the caller's.
            self._connections.append(socket.socket(fileno=os.dup(connection.fileno())))
        if self._ended:
            self.shut_down()
        return connection

    def shut_down(self) -> None:
        """End whatever is waited for, now and from now on."""
        with self._lock:
            self._ended = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connections, without ending them."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections = []


def noted_by(wire: Wire, pools: Mapping[str, type[HTTPConnectionPool]]) -> dict[str, type[HTTPConnectionPool]]:
    """The same pools of urllib3's, by scheme, but their connections are told to a wire: those through SOCKS, too."""
    return {scheme: _noted(wire, pool) for scheme, pool in pools.items()}


def _noted(wire: Wire, pool: Any) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return wire.opened(super()._new_conn())

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
