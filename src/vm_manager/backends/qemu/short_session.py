"""A short conversation with QEMU's monitor: so long altogether, and so many bytes.

Blocking and small on purpose: `vmctl list` must not pay for asyncio. Source: QEMU's docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm_manager.backends.qemu.bounded_lines import BoundedLines
from vm_manager.backends.qemu.sockets import QUERY_SOCKET, socket_path
from vm_manager.domain.bounded_json import parse

_MESSAGE_CHARS = 500


class Refused(ValueError):
    """QEMU's own message for a command that it did not carry out, shortened."""


class ShortSession:
    """A connection to the monitor for readers. Made by `short_session`."""

    def __init__(self, connection: socket.socket, timeout_s: float, most_bytes: int) -> None:
        self._connection, self._most_bytes = connection, most_bytes
        self._lines = BoundedLines(connection, timeout_s, most_bytes)

    def execute(self, command: str, arguments: dict[str, object] | None = None, *, file: int | None = None) -> object:
        """Run a command, to which a file may be passed by its descriptor, and return its result.

        Raises: `Refused`; `ValueError` and `TypeError` for an answer that is none; `OSError`.
        """
        message = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        if file is None:
            self._lines.send(message)
        else:
            socket.send_fds(self._connection, [message], [file])
        while "return" not in (answer := self._receive()):
            if "error" in answer:
                error = answer["error"]
                raise Refused(str(error.get("desc", ""))[:_MESSAGE_CHARS] if isinstance(error, dict) else "")
        return answer["return"]

    def _receive(self) -> dict[str, object]:
        message = parse(self._lines.next_line(), most_bytes=self._most_bytes)
        if not isinstance(message, dict):
            raise TypeError("not a QMP message")
        return message

    def _negotiate(self) -> None:
        self._receive()  # the greeting
        self.execute("qmp_capabilities")


@contextmanager
def short_session(home: Path, *, timeout_s: float, most_bytes: int) -> Iterator[ShortSession]:
    """A session with the QEMU in `home`.

    timeout_s, most_bytes: for all of it. Raises: `OSError` when nobody answers in time, as while another reader is being
    served; `ValueError` and `TypeError` for what is no QMP.
    """
    with socket_path(home, QUERY_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        session = ShortSession(connection, timeout_s, most_bytes)
        session._negotiate()
        yield session
