"""The QEMU guest agent, where the guest runs one. Source: QEMU's docs/interop/qemu-ga-ref, and `guest-sync-delimited` there."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import time
from pathlib import Path

from vm_manager.backends.qemu.answers import chardev
from vm_manager.backends.qemu.bounded_lines import BoundedLines
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.sockets import AGENT_SOCKET, socket_path
from vm_manager.diagnostics.errors import QemuError
from vm_manager.domain.bounded_json import parse

_log = logging.getLogger(__name__)

# The agent is the guest's: for all of it, however it is handed out.
_TIMEOUT_S = 5.0
_MOST_BYTES = 64 * 1024
_SENTINEL = b"\xff"


def correct_clock(home: Path, monitor: Monitor) -> None:
    """Set the clock of a guest that has stood still, if its agent listens; otherwise it stays behind. Never fails."""
    try:
        if _listens(monitor):
            _set_time(home)
    except (QemuError, OSError, ValueError) as error:
        _log.info("the guest's clock was not set: %s", error)


def _listens(monitor: Monitor) -> bool:
    return bool(chardev(monitor.execute("query-chardev"), "agent").get("frontend-open"))


def _set_time(home: Path) -> None:
    with socket_path(home, AGENT_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(path)
        agent = BoundedLines(connection, _TIMEOUT_S, _MOST_BYTES)
        number = secrets.randbelow(2**31)
        # The first byte clears what an earlier client may have left half-said; the agent complains about it first.
        agent.send(_SENTINEL + _command("guest-sync-delimited", id=number))
        agent.up_to(_SENTINEL)
        _require_success(agent.next_line())
        agent.send(_command("guest-set-time", time=time.time_ns()))
        # Read to its end: an answer that nobody takes keeps the agent busy for good.
        _require_success(agent.next_line())


def _command(name: str, **arguments: object) -> bytes:
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


def _require_success(line: bytes) -> None:
    answer = parse(line, most_bytes=_MOST_BYTES)
    if not isinstance(answer, dict) or "return" not in answer:
        raise ValueError(f"the agent refused: {str(answer)[:200]}")
