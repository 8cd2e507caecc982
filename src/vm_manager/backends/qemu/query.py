"""A quick question to a running QEMU, for readers: connect, ask, leave, within half a second.

Blocking and small on purpose: `vmctl list` must not pay for asyncio. Source: QEMU's docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vm_manager.backends.qemu.answers import chardev, run_state
from vm_manager.backends.qemu.bounded_lines import BoundedLines
from vm_manager.backends.qemu.sockets import QUERY_SOCKET, socket_path
from vm_manager.domain.bounded_json import parse

_T = TypeVar("_T")

_TIMEOUT_S = 0.5
# The registers of 288 vCPUs are some 500 KB. QEMU is what a guest has in its hands if it breaks out of it.
_MOST_BYTES = 4 * 1024**2
# "info usernet": `  TCP[HOST_FORWARD]  14       127.0.0.1 43521       10.0.2.15    22`
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+(\S+)\s+(\d+)\s+\S+\s+(\d+)")


@dataclass(frozen=True)
class Answer:
    """status: QEMU's RunState, for example running, paused, guest-panicked. ssh_port: the forward on this host."""

    status: str
    ssh_port: int | None


def ask(home: Path, guest_port: int) -> Answer | None:
    """Ask the QEMU in `home`; None when it does not answer in time, because it hangs or another reader is being served."""

    def read(channel: _Channel) -> Answer:
        state = run_state(channel.execute("query-status"))
        forwards = channel.execute("human-monitor-command", {"command-line": "info usernet"})
        return Answer(state, forwarded_port(str(forwards), guest_port))

    return _in_session(home, read)


def look_up(home: Path, command: str) -> object | None:
    """What QEMU answers to a command that only looks; None when it does not answer in time."""
    return _in_session(home, lambda channel: channel.execute(command))


def disk_operations(home: Path) -> tuple[int, int] | None:
    """How many reads, writes and flushes the guest's disks have done, and how many of them were writes.

    None when QEMU does not answer in time.
    """

    def read(channel: _Channel) -> tuple[int, int] | None:
        devices = channel.execute("query-blockstats")
        if not isinstance(devices, list):
            return None
        every = [device["stats"] for device in devices]
        writes = sum(stats["wr_operations"] for stats in every)
        return writes + sum(stats["rd_operations"] + stats["flush_operations"] for stats in every), writes

    return _in_session(home, read)


def registers(home: Path) -> str | None:
    """The registers of all vCPUs, as QEMU prints them; None when it does not answer in time."""
    return _in_session(
        home, lambda channel: str(channel.execute("human-monitor-command", {"command-line": "info registers -a"}))
    )


def physical_memory(home: Path, start: int, halfwords: int) -> bytes | None:
    """Guest memory by physical address, in units of two bytes; None when QEMU does not answer in time."""

    def read(channel: _Channel) -> bytes:
        dump = str(channel.execute("human-monitor-command", {"command-line": f"xp /{halfwords}hx {start:#x}"}))
        # `00000000000b8000: 0x0753 0x0765 …`
        words = [word for line in dump.splitlines() for word in line.partition(":")[2].split()]
        return b"".join(int(word, 16).to_bytes(2, "little") for word in words)

    return _in_session(home, read)


def console_is_taken(home: Path, label: str) -> bool:
    """Whether somebody is connected to the socket of a character device; False when QEMU does not say."""
    device = chardev(look_up(home, "query-chardev"), label)
    return bool(device) and not str(device.get("filename")).startswith("disconnected:")


def forwarded_port(usernet: str, guest_port: int) -> int | None:
    """The host's port in the output of `info usernet` that leads to a port of the guest."""
    return next((int(host) for _, host, guest in _FORWARD.findall(usernet) if int(guest) == guest_port), None)


class _Channel:
    def __init__(self, connection: socket.socket) -> None:
        self._lines = BoundedLines(connection, _TIMEOUT_S, _MOST_BYTES)

    def send(self, message: dict[str, object]) -> None:
        self._lines.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, object]:
        message = parse(self._lines.next_line(), most_bytes=_MOST_BYTES)
        if not isinstance(message, dict):
            raise TypeError("not a QMP message")
        return message

    def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        self.send({"execute": command, "arguments": arguments or {}})
        while "return" not in (message := self.receive()):
            if "error" in message:
                raise ValueError(message["error"])
        return message["return"]


def _in_session(home: Path, read: Callable[[_Channel], _T]) -> _T | None:
    """What is read from QEMU; None when it does not answer in time, or not as it should."""
    try:
        with socket_path(home, QUERY_SOCKET) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(path)
            channel = _Channel(connection)
            channel.receive()  # the greeting
            channel.execute("qmp_capabilities")
            return read(channel)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
