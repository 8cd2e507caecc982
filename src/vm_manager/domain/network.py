"""The network cards of a virtual machine, and the ports of the host that lead into it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from vm_manager.diagnostics.spans import Span

#: Where a forwarded port listens unless the VMFile says otherwise.
LOOPBACK = "127.0.0.1"
#: The bridge of a card on one, unless the VMFile names another.
BRIDGE = "br0"
#: Every address of the host.
ANY_ADDRESS = "0.0.0.0"

_LAST_PORT = 65535
_WRITTEN = re.compile(
    r"(?:(?:(?P<address>[0-9.]{7,15}):)?(?:(?P<host>[0-9]{1,5})|auto):)?(?P<guest>[0-9]{1,5})(?:/(?P<transport>tcp|udp))?",
    re.ASCII,
)


class NetworkMode(StrEnum):
    """USER: QEMU's own NAT, reached through ports of this host. PRIVATE: among VMs of one VMFile. TAP: on a bridge of the host.
    VNIC: an illumos VNIC. NONE: no network card.

    VNIC is a word of the language that nothing can run yet.
    """

    USER = "user"
    PRIVATE = "private"
    TAP = "tap"
    VNIC = "vnic"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network card. mac: None: one that is generated and stays the same.

    name, address: with PRIVATE, of the network, and of the card on it, with the length of the prefix: `10.150.3.7/16`.
    bridge: with TAP, the host's. span: of that in the VMFile.
    """

    mode: NetworkMode = NetworkMode.USER
    mac: str | None = None
    name: str | None = None
    address: str | None = None
    bridge: str | None = None
    span: Span | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """For displays: `user`, `private backend`, `tap br0`."""
        where = self.name or self.bridge
        return f"{self.mode} {where}" if where else str(self.mode)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another VM on a private network, as it is known there. address: without the prefix."""

    name: str
    address: str


class Transport(StrEnum):
    """The protocol of a forwarded port."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A port of this host that leads to a port of the guest.

    host: None: a free one, picked at the first start and kept from then on where it can be.
    address: of this host, on which it listens. span: of the host's port in the VMFile.
    """

    guest: int
    host: int | None = None
    transport: Transport = Transport.TCP
    address: str = LOOPBACK
    span: Span | None = field(default=None, compare=False)

    @property
    def reached_at(self) -> str:
        """The address at which this host itself reaches it."""
        return LOOPBACK if self.address == ANY_ADDRESS else self.address

    @property
    def host_port(self) -> str:
        """Its port on this host: `8080/tcp`, `auto/tcp`."""
        return f"{self.host or 'auto'}/{self.transport}"

    def leads_as(self, other: Forward) -> bool:
        """Whether both lead to the same port of the guest from the same address."""
        return (self.transport, self.address, self.guest) == (other.transport, other.address, other.guest)

    def listens_beside(self, other: Forward) -> bool:
        """Whether both would listen on the same address."""
        return self.address == other.address or ANY_ADDRESS in (self.address, other.address)

    def __str__(self) -> str:
        return f"{self.address}:{self.host_port} -> {self.guest}"


def forward_of(text: str) -> Forward | None:
    """A forward as options have it, `[[ADDRESS:]HOST:]GUEST[/udp]`, or None when it is none.

    Without HOST, or with `auto` there, a free port is picked. The address is not looked at closely.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    host, guest = int(found["host"]) if found["host"] else None, int(found["guest"])
    if not 0 < guest <= _LAST_PORT or not (host is None or 0 < host <= _LAST_PORT):
        return None
    transport = Transport(found["transport"] or Transport.TCP)
    return Forward(guest=guest, host=host, transport=transport, address=found["address"] or LOOPBACK)
