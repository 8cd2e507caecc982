"""The picture on a guest's screen, as a PNG file. Source: `add-fd` and `screendump` in QEMU's QAPI.

QEMU writes to a file in memory that it is handed: its sandbox lets it make none, and a QEMU that a guest has taken over shall
neither fill a disk nor keep us waiting.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from vm_manager.backends.qemu.bounded_lines import BoundedLines
from vm_manager.backends.qemu.sockets import QUERY_SOCKET, socket_path
from vm_manager.diagnostics.errors import QmpCommandFailed, QmpConnectFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.bounded_json import Unreadable, parse

# A screen of 4096 by 2160 without any compression has 35 MB.
_MOST_BYTES = 64 * 1024**2
_TIMEOUT_S = 15.0
_ANSWER_BYTES = 64 * 1024
_MESSAGE_CHARS = 500
# Of the file that QEMU is given, which is another one in each connection: they are numbered by QEMU.
_OPAQUE = "vmctl screenshot"
_SIGNATURE, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def picture(name: str, home: Path) -> bytes:
    """The screen as PNG. Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`."""
    memory = os.memfd_create("screenshot", os.MFD_CLOEXEC)
    try:
        _dump(name, home, memory)
        found = os.pread(memory, _MOST_BYTES, 0)
    finally:
        os.close(memory)
    if not found.startswith(_SIGNATURE) or not found.endswith(_END):
        raise QmpCommandFailed("QEMU's picture of the screen of VM '{name}' is not a PNG file", {"name": name})
    return found


def _dump(name: str, home: Path, memory: int) -> None:
    try:
        with socket_path(home, QUERY_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(path)
            session = _Session(connection)
            number = session.add_file(memory)
            try:
                session.execute("screendump", filename=f"/dev/fdset/{number}", format="png")
            finally:
                session.execute("remove-fd", **{"fdset-id": number})
    except _Refused as error:
        raise QmpCommandFailed(
            "QEMU did not take a picture of the screen of VM '{name}'",
            {"name": name},
            evidence=(Evidence("qmp", "QEMU's answer", (str(error),)),),
        ) from None
    except (OSError, Unreadable, ValueError, KeyError, TypeError) as error:
        raise QmpConnectFailed("QEMU's monitor did not answer, or not as it should", retryable=True) from error


class _Refused(Exception):
    """QEMU's own message."""


class _Session:
    """A connection of QMP that also passes a file."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = BoundedLines(connection, _TIMEOUT_S, _ANSWER_BYTES)
        self._lines.next_line()  # the greeting
        self.execute("qmp_capabilities")

    def add_file(self, memory: int) -> int:
        """The number of a set with this file. It is opened anew: QEMU demands one that is for writing only."""
        writer = os.open(f"/proc/self/fd/{memory}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            socket.send_fds(self._connection, [_message("add-fd", {"opaque": _OPAQUE})], [writer])
        finally:
            os.close(writer)
        found = self._answer()
        if not isinstance(found, dict) or not isinstance(found["fdset-id"], int):
            raise TypeError("not the number of a set of files")
        return int(found["fdset-id"])

    def execute(self, command: str, **arguments: object) -> object:
        """Run a command and return its result. Raises: `_Refused`, and as `BoundedLines`."""
        self._lines.send(_message(command, arguments))
        return self._answer()

    def _answer(self) -> object:
        while True:
            message = parse(self._lines.next_line(), most_bytes=_ANSWER_BYTES)
            if not isinstance(message, dict):
                raise TypeError("not a QMP message")
            if "return" in message:
                return message["return"]
            if "error" in message:
                error = message["error"]
                raise _Refused(str(error.get("desc", ""))[:_MESSAGE_CHARS] if isinstance(error, dict) else "")


def _message(command: str, arguments: dict[str, object]) -> bytes:
    return json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
