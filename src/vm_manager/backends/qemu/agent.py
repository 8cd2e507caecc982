"""The QEMU guest agent, where the guest runs one. Source: QEMU's docs/interop/qemu-ga-ref, and `guest-sync-delimited` there."""

from __future__ import annotations

import json
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm_manager.backends.qemu.answers import chardev, mappings
from vm_manager.backends.qemu.bounded_lines import BoundedLines
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.sockets import AGENT_SOCKET, socket_path
from vm_manager.diagnostics.errors import QemuError
from vm_manager.domain.bounded_json import parse

_log = logging.getLogger(__name__)

# The agent is the guest's: for all of it, however it is handed out.
_TIMEOUT_S = 5.0
_MOST_BYTES = 64 * 1024
_MOST_CARDS, _MOST_ADDRESSES = 64, 64
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
    with _session(home, _TIMEOUT_S) as agent:
        agent.send(_command("guest-set-time", time=time.time_ns()))
        # Read to its end: an answer that nobody takes keeps the agent busy for good.
        _result(agent.next_line())


def cards(home: Path, timeout_s: float) -> list[tuple[str, str]]:
    """The MAC addresses of the guest's network cards, each with an address that it says the card has.

    Untrusted: comes from the guest. Raises: `OSError` when nobody answers in time, `ValueError` for what is no answer.
    """
    with _session(home, timeout_s) as agent:
        agent.send(_command("guest-network-get-interfaces"))
        interfaces = mappings(_result(agent.next_line()))
    return [
        (str(interface.get("hardware-address")).lower(), str(address.get("ip-address")))
        for interface in interfaces[:_MOST_CARDS]
        for address in mappings(interface.get("ip-addresses"))[:_MOST_ADDRESSES]
    ]


@contextmanager
def _session(home: Path, timeout_s: float) -> Iterator[BoundedLines]:
    with socket_path(home, AGENT_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        agent = BoundedLines(connection, timeout_s, _MOST_BYTES)
        number = secrets.randbelow(2**31)
        # The first byte clears what an earlier client may have left half-said; the agent complains about it first.
        agent.send(_SENTINEL + _command("guest-sync-delimited", id=number))
        agent.up_to(_SENTINEL)
        _result(agent.next_line())
        yield agent


def _command(name: str, **arguments: object) -> bytes:
    return json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"


def _result(line: bytes) -> object:
    answer = parse(line, most_bytes=_MOST_BYTES)
    if not isinstance(answer, dict) or "return" not in answer:
        raise ValueError(f"the agent refused: {str(answer)[:200]}")
    return answer["return"]
