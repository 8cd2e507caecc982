"""Addresses on private networks: made from names, and so the same for ever, without anybody who has to remember them.

Two names may get the same one, in one of 65,534 cases: the VMFile is refused then, and can give another.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv4Interface

# 10.128.0.0 and above: QEMU's own network is 10.0.2.0/24, and small numbers are what people choose for theirs.
_LOWEST, _NETWORKS = 128, 120
_HOSTS = 2**16 - 2
# Locally administered, and none of QEMU's. Source: IEEE 802, section 8.2.2.
_PRIVATE_PREFIX, _OTHER_PREFIX = "52:55", "52:56"


def address_of(network: str, vm: str) -> str:
    """The address of a VM on a private network, with the length of the prefix."""
    host = int.from_bytes(_digest(f"{network} {vm}")[:2], "big") % _HOSTS + 1
    return f"10.{_LOWEST + _digest(network)[0] % _NETWORKS}.{host >> 8}.{host & 255}/16"


def mac_on(address: str) -> str:
    """The MAC address of the card with an address on a private network: different where that is."""
    return _mac(_PRIVATE_PREFIX, IPv4Interface(address).ip.packed)


def mac_beside(vm: str) -> str:
    """The MAC address of the first other card of such a VM, by which its network configuration knows it."""
    return _mac(_OTHER_PREFIX, _digest(vm)[:4])


def _mac(prefix: str, octets: bytes) -> str:
    return ":".join((prefix, *(f"{octet:02x}" for octet in octets)))


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
