"""The connections below urllib3: ended from outside, whatever is waited for, and not made to where none may lead."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool


class LeadsHere(Exception):
    """A connection would be to this machine or its link, and must not be. Translated in images.http; never leaves it."""


class Wire:
    """The connections of one request.

    may_be_near: whether they may be to this machine itself, or to what has its address on the link only. A name says nothing of
    that: it can lead anywhere.
    """

    def __init__(self, *, may_be_near: bool = True) -> None:
        self._may_be_near = may_be_near
        #: Whether a connection was made to this machine or on its link, and not to a proxy there.
        self.is_near = False
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._ended = False

    def opened(self, connection: socket.socket, *, direct: bool) -> socket.socket:
        """Note a connection, which is the caller's as before. direct: to the server, and not to a proxy. Raises: `LeadsHere`."""
        if direct and _is_near(connection):
            self.is_near = True
            if not self._may_be_near:
                connection.close()
                raise LeadsHere
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


def _is_near(connection: socket.socket) -> bool:
    """Whether the peer is this machine, or has an address that is valid on the link only, as services of clouds do."""
    address = ipaddress.ip_address(connection.getpeername()[0])
    # What ::ffff:127.0.0.1 is Python knows from 3.13 on.
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_link_local


def noted_by(
    wire: Wire, pools: Mapping[str, type[HTTPConnectionPool]], *, direct: bool
) -> dict[str, type[HTTPConnectionPool]]:
    """The same pools of urllib3's, by scheme, but their connections are told to a wire: those through SOCKS, too."""
    return {scheme: _noted(wire, pool, direct) for scheme, pool in pools.items()}


def _noted(wire: Wire, pool: Any, direct: bool) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return wire.opened(super()._new_conn(), direct=direct)

    class Pool(pool):  # type: ignore[misc]
        ConnectionCls = Connection

    return Pool
