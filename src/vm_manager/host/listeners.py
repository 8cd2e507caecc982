"""Ports of 127.0.0.1 that a command of vmctl's listens on, or has a program listen on, for as long as it runs."""

from __future__ import annotations

import os
import socket

from vm_manager.diagnostics.errors import PortUnavailable
from vm_manager.domain.network import LOOPBACK


def listener(port: int, again: str) -> socket.socket:
    """A socket that listens there. port: 0: a free one. again: the command line that picks a free one.

    Raises: `network::port_unavailable`.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise PortUnavailable(
            "port {port} of 127.0.0.1 cannot be listened on: {why}",
            {"port": port, "why": os.strerror(error.errno or 0)},
            help=(f"use another one: `{again}` picks a free one",),
        ) from error
