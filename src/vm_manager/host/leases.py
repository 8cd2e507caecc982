"""Who has which address, by the DHCP servers of this host: what dnsmasq and libvirt write down. Source: dnsmasq(8).

The files are others', and may be anything: so much of each is read, and what is not understood is passed over.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.host.netlink import Address

#: More files or patterns, separated by colons, which are looked at first.
VARIABLE = "VMCTL_LEASES"
# Of dnsmasq itself, on Debian and on Red Hat; of libvirt, whose networks with a helper script have `.status`; of NetworkManager's
# shared connections; of LXD and Incus.
_USUAL = (
    "/var/lib/misc/dnsmasq*.leases",
    "/var/lib/dnsmasq/*.leases",
    "/var/lib/libvirt/dnsmasq/*.leases",
    "/var/lib/libvirt/dnsmasq/*.status",
    "/var/lib/NetworkManager/dnsmasq-*.leases",
    "/run/NetworkManager/dnsmasq-*.leases",
    "/var/lib/lxd/networks/*/dnsmasq.leases",
    "/var/lib/incus/networks/*/dnsmasq.leases",
)
_MOST_FILES, _MOST_BYTES, _MOST_LEASES = 64, 8 * 1024**2, 256
# `1480000000 52:54:00:12:34:56 10.0.0.7 web 01:52:54:00:12:34:56`; with 0, it never ends.
_LINE = re.compile(
    rb"^(\d{1,12})[ \t]+((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})[ \t]+([0-9a-fA-F.:]{2,45})(?:[ \t]|\r?$)", re.MULTILINE
)


@dataclass(frozen=True)
class Lease:
    """An address that a DHCP server has given to a card. mac: lower case. file: where it is written down."""

    address: Address
    mac: str
    file: Path


@dataclass(frozen=True)
class Leases:
    """What the files have. files: those that were read; unread: those that were not, with the reason."""

    found: tuple[Lease, ...] = ()
    files: tuple[Path, ...] = ()
    unread: dict[Path, str] = field(default_factory=dict)


def read_leases(macs: tuple[str, ...]) -> Leases:
    """The leases of some cards that hold now, by their addresses. macs: lower case. Never fails."""
    found: list[Lease] = []
    files: list[Path] = []
    unread: dict[Path, str] = {}
    for path in _files():
        try:
            content = _read(path)
        except OSError as error:
            unread[path] = error.strerror or str(error)
            continue
        files.append(path)
        # Most of a large file are others'.
        if any(mac.encode() in content.lower() for mac in macs):
            found += _leases(path, content, macs)
    return Leases(tuple(found[:_MOST_LEASES]), tuple(files), unread)


def _files() -> list[Path]:
    own = [pattern for pattern in os.environ.get(VARIABLE, "").split(":") if pattern]
    found: dict[Path, None] = {}
    for pattern in (*own, *_USUAL):
        # One that is named, and not there, is told.
        named = [pattern] if pattern in own and not glob.has_magic(pattern) else glob.iglob(pattern)
        for path, _ in zip(named, range(_MOST_FILES), strict=False):
            found[Path(path)] = None
    return list(found)[:_MOST_FILES]


def _read(path: Path) -> bytes:
    """Not a pipe, which nobody may ever write to. Raises: `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        content = os.read(descriptor, _MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MOST_BYTES:
        raise OSError(0, f"more than {_MOST_BYTES // 1024**2} MiB")
    return content


def _leases(path: Path, content: bytes, macs: tuple[str, ...]) -> list[Lease]:
    now = time.time()
    held: dict[str, str] = {}
    try:
        for expires, mac, address in _status(content) if path.suffix == ".status" else _lines(content):
            if expires == 0 or expires > now:
                # Of two entries with one address, the later one holds.
                held[address] = mac.lower()
    except Unreadable:
        return []
    ours = ((usable(text), mac) for text, mac in held.items() if mac in macs)
    return [Lease(address, mac, path) for address, mac in ours if address is not None]


def _lines(content: bytes) -> Iterator[tuple[int, str, str]]:
    for expires, mac, address in _LINE.findall(content):
        yield int(expires), mac.decode(), address.decode()


def _status(content: bytes) -> Iterator[tuple[int, str, str]]:
    """libvirt's: a list of objects, by its `leaseshelper`."""
    found = parse(content, most_bytes=_MOST_BYTES)
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict):
            expires, mac, address = (entry.get(key) for key in ("expiry-time", "mac-address", "ip-address"))
            if isinstance(expires, int) and isinstance(mac, str) and isinstance(address, str):
                yield expires, mac, address


def usable(text: str) -> Address | None:
    """An address that a guest may be reached at; None for what is none, or leads nowhere, to this host or to many."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    nowhere = address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved
    # With a scope it is somebody's on a link that the other side cannot know of; ::ffff:127.0.0.1 is one of IPv4 in disguise.
    odd = isinstance(address, IPv6Address) and (address.scope_id is not None or address.ipv4_mapped is not None)
    return None if nowhere or odd else address
