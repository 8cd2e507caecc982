"""The UNIX sockets of a running QEMU: their names in the VM's directory, and paths to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QMP_SOCKET = "qmp.sock"
QUERY_SOCKET = "query.sock"
CONSOLE_SOCKET = "console.sock"
CONSOLE_CHARDEV = "console"
VNC_SOCKET = "vnc.sock"
AGENT_SOCKET = "agent.sock"
SOCKETS = (QMP_SOCKET, QUERY_SOCKET, CONSOLE_SOCKET, VNC_SOCKET, AGENT_SOCKET)

# Those of the virtiofsds.
_SHARE_PREFIX = "fs-"


def share_socket(tag: str) -> str:
    """The socket at which QEMU finds the virtiofsd of a shared directory."""
    return f"{_SHARE_PREFIX}{tag}.sock"


def remove_share_sockets(home: Path) -> None:
    """Remove those of a QEMU that is gone: nobody else does. Raises: `OSError`."""
    for path in home.glob(share_socket("*")):
        path.unlink(missing_ok=True)


@contextmanager
def socket_path(home: Path, name: str) -> Iterator[str]:
    """A path to a socket in `home` that fits into the 108 bytes of sun_path, however deep `home` lies. See unix(7)."""
    descriptor = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
