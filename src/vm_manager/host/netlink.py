"""What the kernel knows of network interfaces and of neighbours, asked without a program. Source: rtnetlink(7), netlink(7).

Not from /sys: a process in another network namespace often sees the /sys of the one before.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_GET_LINK, _GET_NEIGHBOUR = 18, 30
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_LINK, _NEIGHBOUR = struct.Struct("=BxHiII"), struct.Struct("=BxxxiHBB")
_NESTED = 0x3FFF  # without the flags in an attribute's type
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_NDA_DST, _NDA_LLADDR = 1, 2
# linux/neighbour.h, NUD_*: those in which the hardware address counts, and among them those that were confirmed lately.
_REACHABLE, _STALE, _DELAY, _PROBE, _PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
_USABLE, _CONFIRMED = _REACHABLE | _STALE | _DELAY | _PROBE | _PERMANENT, _REACHABLE | _PERMANENT
_TIMEOUT_S = 0.2
# A table of neighbours has 1,024 entries unless somebody raises `gc_thresh3`.
_MOST_BYTES, _READ_BYTES = 16 * 1024**2, 64 * 1024


@dataclass(frozen=True)
class Neighbour:
    """An entry of the kernel's table of neighbours. mac: lower case. confirmed: whether it was, lately.

    interface: its name; a link-local address means nothing without it.
    """

    address: Address
    mac: str
    interface: str
    confirmed: bool


def bridges() -> dict[str, int]:
    """The bridges of this host with the numbers of their interfaces. Raises: `OSError`."""
    found = {}
    for payload in _dump(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        attributes = _attributes(payload[_LINK.size :])
        kind = _attributes(attributes.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
        if _text(kind) == "bridge":
            found[_text(attributes.get(_IFLA_IFNAME, b""))] = _LINK.unpack_from(payload)[2]
    return found


def neighbours() -> list[Neighbour]:
    """The neighbours whose hardware address is known, of IPv4 and IPv6. Raises: `OSError`."""
    found = []
    names: dict[int, str] = {}
    for payload in _dump(_GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, interface, state, _, _ = _NEIGHBOUR.unpack_from(payload)
        attributes = _attributes(payload[_NEIGHBOUR.size :])
        address, mac = _address(attributes.get(_NDA_DST, b"")), attributes.get(_NDA_LLADDR, b"")
        if state & _USABLE and address is not None and len(mac) == 6:
            if interface not in names:
                names[interface] = _name(interface)
            found.append(Neighbour(address, mac.hex(":"), names[interface], bool(state & _CONFIRMED)))
    return found


def _dump(kind: int, request: bytes) -> Iterator[bytes]:
    """The payloads of all messages that answer a request. Raises: `OSError`, also when there are too many."""
    left = _MOST_BYTES
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.send(_HEADER.pack(_HEADER.size + len(request), kind, _REQUEST | _DUMP, 1, 0) + request)
        while left > 0:
            data = asking.recv(_READ_BYTES)
            left -= len(data)
            while len(data) >= _HEADER.size:
                size, answer, *_ = _HEADER.unpack_from(data)
                if answer == _DONE or size < _HEADER.size:
                    return
                if answer == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, _HEADER.size)[0], "the kernel refused to list them")
                yield data[_HEADER.size : size]
                data = data[_aligned(size) :]
    raise OSError("the kernel lists too many")


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            break
        found[kind & _NESTED] = data[_ATTRIBUTE.size : size]
        data = data[_aligned(size) :]
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _address(value: bytes) -> Address | None:
    match len(value):
        case 4:
            return IPv4Address(value)
        case 16:
            return IPv6Address(value)
    return None


def _name(interface: int) -> str:
    try:
        return socket.if_indextoname(interface)
    except OSError:
        return str(interface)  # it has gone; the number is a scope, too
