"""The guest's serial console: a UNIX socket of QEMU's that serves one client."""

from __future__ import annotations

import socket
from pathlib import Path

from vm_manager.backends.qemu.query import console_is_taken
from vm_manager.backends.qemu.sockets import CONSOLE_CHARDEV, CONSOLE_SOCKET, socket_path
from vm_manager.diagnostics.errors import StateLocked
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline

_POLL_S = 0.1
# For a client that has just left and that QEMU still counts.
_GRACE_S = 2.0
_CONNECT_TIMEOUT_S = 5.0


def connect_console(name: str, home: Path) -> socket.socket:
    """Connect to the console. Raises: `state::locked` when another program is connected, `io`."""
    # A second client would be accepted by the kernel and never served by QEMU.
    deadline = Deadline(_GRACE_S)
    while console_is_taken(home, CONSOLE_CHARDEV):
        if deadline.expired:
            raise StateLocked(
                "another program is connected to the console of VM '{name}'",
                {"name": name},
                help=(f"close the program that is connected to {home / CONSOLE_SOCKET}",),
                subject=Subject(vm=name),
                retryable=True,
            )
        deadline.pause(_POLL_S)
    connection = socket.socket(socket.AF_UNIX)
    try:
        with os_errors(home / CONSOLE_SOCKET), socket_path(home, CONSOLE_SOCKET) as path:
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(path)
            connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection
