"""The QEMU guest agent, where the guest runs one. Source: QEMU's docs/interop/qemu-ga-ref, and `guest-sync-delimited` there."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import time
from pathlib import Path
from typing import IO

from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.sockets import AGENT_SOCKET, socket_path
from vm_manager.diagnostics.errors import QemuError

_log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_SENTINEL = b"\xff"


def correct_clock(home: Path, monitor: Monitor) -> None:
    """Set the clock of a guest that has stood still, if its agent listens; otherwise it stays behind. Never fails."""
    try:
        if _listens(monitor):
            _set_time(home)
    except (QemuError, OSError, ValueError) as error:
        _log.info("the guest's clock was not set: %s", error)


def _listens(monitor: Monitor) -> bool:
    found = monitor.execute("query-chardev")
    devices = found if isinstance(found, list) else []
    return any(device.get("label") == "agent" and device.get("frontend-open") for device in devices)


def _set_time(home: Path) -> None:
    with socket_path(home, AGENT_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(path)
        number = secrets.randbelow(2**31)
        # The first byte clears what an earlier client may have left half-said; the agent complains about it first.
        connection.sendall(_SENTINEL + _command("guest-sync-delimited", id=number))
        with connection.makefile("rb") as answers:
            _skip_to_sentinel(answers)
            _answer(answers.readline())
            connection.sendall(_command("guest-set-time", time=time.time_ns()))
            # Read to its end: an answer that nobody takes keeps the agent busy for good.
            _answer(answers.readline())


def _skip_to_sentinel(answers: IO[bytes]) -> None:
    while (byte := answers.read(1)) != _SENTINEL:
        if not byte:
            raise ConnectionAbortedError("the agent's channel was closed")


def _command(name: str, **arguments: object) -> bytes:
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


def _answer(line: bytes) -> None:
    answer = json.loads(line)
    if not isinstance(answer, dict) or "return" not in answer:
        raise ValueError(f"the agent refused: {answer}")
