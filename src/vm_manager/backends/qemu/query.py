"""A quick question to a running QEMU, for readers: connect, ask, leave, within half a second."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vm_manager.backends.qemu.answers import chardev, run_state
from vm_manager.backends.qemu.short_session import ShortSession, short_session
from vm_manager.domain.network import ANY_ADDRESS, Forward, Transport

_T = TypeVar("_T")

_TIMEOUT_S = 0.5
# The registers of 288 vCPUs are some 500 KB. QEMU is what a guest has in its hands if it breaks out of it.
_MOST_BYTES = 4 * 1024**2
_HMP = "human-monitor-command"
# A VGA shows text from the address on that these registers of its CRT controller hold; they are selected by an index. Source:
# IBM VGA. QEMU counts in characters, of which the memory has so many.
_CRTC, _ORIGIN_HIGH, _ORIGIN_LOW = 0x3D4, 0x0C, 0x0D
_VGA_TEXT, _VGA_CHARACTERS = 0xB8000, 0x4000
# `portb[0x03d5] = 0x0a`
_PORT = re.compile(r"= 0x([0-9a-f]+)")
# "info usernet": `  TCP[HOST_FORWARD]  14       127.0.0.1 43521       10.0.2.15    22`
_FORWARD = re.compile(r"(TCP|UDP)\[HOST_FORWARD\]\s+\S+\s+([\d.]+|\*)\s+(\d+)\s+\S+\s+(\d+)")


@dataclass(frozen=True)
class Answer:
    """status: QEMU's RunState, for example running, paused, guest-panicked. forwards: the ports that lead into the guest."""

    status: str
    forwards: tuple[Forward, ...]


def ask(home: Path) -> Answer | None:
    """Ask the QEMU in `home`; None when it does not answer in time, because it hangs or another reader is being served."""

    def read(session: ShortSession) -> Answer:
        state = run_state(session.execute("query-status"))
        forwards = session.execute(_HMP, {"command-line": "info usernet"})
        return Answer(state, forwards_in(str(forwards)))

    return _in_session(home, read)


def look_up(home: Path, command: str) -> object | None:
    """What QEMU answers to a command that only looks; None when it does not answer in time."""
    return _in_session(home, lambda session: session.execute(command))


def disk_operations(home: Path) -> tuple[int, int] | None:
    """How many reads, writes and flushes the guest's disks have done, and how many of them were writes.

    None when QEMU does not answer in time.
    """

    def read(session: ShortSession) -> tuple[int, int] | None:
        devices = session.execute("query-blockstats")
        if not isinstance(devices, list):
            return None
        every = [device["stats"] for device in devices]
        writes = sum(stats["wr_operations"] for stats in every)
        return writes + sum(stats["rd_operations"] + stats["flush_operations"] for stats in every), writes

    return _in_session(home, read)


def registers(home: Path) -> str | None:
    """The registers of all vCPUs, as QEMU prints them; None when it does not answer in time."""
    return _in_session(home, lambda session: str(session.execute(_HMP, {"command-line": "info registers -a"})))


def vga_text(home: Path, *, columns: int, rows: int, rows_before: int) -> bytes | None:
    """The text memory of the VGA, in units of two bytes; None when QEMU does not answer in time.

    columns, rows: what the screen holds; rows_before: how many to read of those that have scrolled off its top, at most.
    """

    def read(session: ShortSession) -> bytes:
        origin = _vga_origin(session)
        if origin + columns * rows > _VGA_CHARACTERS:
            origin = 0  # it wraps, or is no text mode
        above = min(rows_before, origin // columns)
        return _memory(session, _VGA_TEXT + 2 * (origin - above * columns), (above + rows) * columns)

    return _in_session(home, read)


def _vga_origin(session: ShortSession) -> int:
    """The first character that is shown.

    QEMU selects the register and reads it in one step, and so do Linux and SeaBIOS write one: with a 16-bit access.
    """
    selected = _port(session, f"{_CRTC:#x}")
    high, low = (_port(session, f"{_CRTC:#x}.{register:#x}") for register in (_ORIGIN_HIGH, _ORIGIN_LOW))
    session.execute(_HMP, {"command-line": f"o /b {_CRTC:#x} {selected:#x}"})
    return high << 8 | low


def _port(session: ShortSession, address: str) -> int:
    found = _PORT.search(str(session.execute(_HMP, {"command-line": f"i /b {address}"})))
    if found is None:
        raise ValueError("not the value of a port")
    return int(found[1], 16)


def _memory(session: ShortSession, start: int, halfwords: int) -> bytes:
    """Guest memory by physical address."""
    dump = str(session.execute(_HMP, {"command-line": f"xp /{halfwords}hx {start:#x}"}))
    # `00000000000b8000: 0x0753 0x0765 …`
    words = [word for line in dump.splitlines() for word in line.partition(":")[2].split()]
    return b"".join(int(word, 16).to_bytes(2, "little") for word in words)


def console_is_taken(home: Path, label: str) -> bool:
    """Whether somebody is connected to the socket of a character device; False when QEMU does not say."""
    device = chardev(look_up(home, "query-chardev"), label)
    return bool(device) and not str(device.get("filename")).startswith("disconnected:")


def forwards_in(usernet: str) -> tuple[Forward, ...]:
    """The forwards in the output of `info usernet`."""
    return tuple(
        Forward(
            guest=int(guest),
            host=int(host),
            transport=Transport(transport.lower()),
            address=ANY_ADDRESS if address == "*" else address,
        )
        for transport, address, host, guest in _FORWARD.findall(usernet)
    )


def host_port(forwards: Sequence[Forward], wanted: Forward) -> int | None:
    """The port of this host at which a forward listens."""
    return next((forward.host for forward in forwards if forward.leads_as(wanted)), None)


def _in_session(home: Path, read: Callable[[ShortSession], _T]) -> _T | None:
    """What is read from QEMU; None when it does not answer in time, or not as it should."""
    try:
        with short_session(home, timeout_s=_TIMEOUT_S, most_bytes=_MOST_BYTES) as session:
            return read(session)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
