"""TAP devices: a network card of a guest's on a bridge of this host. Source: the kernel's Documentation/networking/tuntap.rst.

The device lasts as long as somebody holds its descriptor: it goes with QEMU, however that ends. Making one takes CAP_NET_ADMIN;
who has not that asks QEMU's helper, which is setuid root and asks its own list of bridges.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shlex
import socket
import struct
from pathlib import Path

from vm_manager.diagnostics.errors import BridgeMissing, HostError, PermissionDenied
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.host.bridge_helper import TUN_DEVICE, helper_obstacle, open_by_helper
from vm_manager.host.netlink import bridges

_log = logging.getLogger(__name__)

# linux/if_tun.h. The kernel fills in the number.
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
_NAME = b"vmctl-%d"
# linux/sockios.h, netdevice(7).
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFMTU, _SIOCSIFMTU = 0x8913, 0x8914, 0x8921, 0x8922
_SIOCGIFHWADDR, _SIOCSIFHWADDR, _SIOCBRADDIF = 0x8927, 0x8924, 0x89A2
_IFF_UP = 0x1
_REQUEST_BYTES = 40
_CAP_NET_ADMIN = 12
_DENIED = (errno.EPERM, errno.EACCES)
_MOST_NAMED = 8


def require_bridge(bridge: str) -> int:
    """The number of a bridge's interface. Raises: `network::bridge_missing`, with those that there are."""
    try:
        there = bridges()
    except OSError as error:
        raise diagnosed(error, "the list of network interfaces") from error
    if bridge in there:
        return there[bridge]
    others, quoted = sorted(there)[:_MOST_NAMED], shlex.quote(bridge)
    is_other = any(name == bridge for _, name in socket.if_nameindex())
    raise BridgeMissing(
        "{bridge} is a network interface, but not a bridge" if is_other else "the bridge {bridge} does not exist",
        {"bridge": bridge},
        help=(
            *((f"use a bridge that exists: {', '.join(f'`{name}`' for name in others)}",) if others else ()),
            *(() if is_other else (f"create it, as root: `ip link add {quoted} type bridge && ip link set {quoted} up`",)),
        ),
        evidence=(Evidence("probe", "the bridges of this host", tuple(others) or ("none",)),),
    )  # fmt: skip


def tap_obstacle(bridge: str) -> HostError | None:
    """What keeps a card from a bridge, as far as a look tells it: nothing is made. Never fails otherwise."""
    try:
        require_bridge(bridge)
    except HostError as missing:
        return missing
    return None if _may_make_devices() else helper_obstacle(bridge)


def try_tap(bridge: str) -> None:
    """Make sure that a card can be attached to a bridge, by doing it for a moment. Raises: see `open_tap`."""
    os.close(open_tap(bridge))


def open_tap(bridge: str) -> int:
    """The descriptor of a new TAP device that is up and on a bridge; it is closed on exec.

    Raises: `network::bridge_missing`, `host::permission_denied`, `host::missing_tool`, `host::exhausted`.
    """
    index = require_bridge(bridge)
    try:
        return _open(bridge, index)
    except OSError as refusal:
        _log.info("no TAP device of one's own: %s", refusal)
        if refusal.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise _no_device() from refusal
        if refusal.errno not in _DENIED:
            raise diagnosed(refusal, TUN_DEVICE) from refusal
    return open_by_helper(bridge)


def _no_device() -> PermissionDenied:
    return PermissionDenied(
        "this host offers no TAP devices: {path} is missing",
        {"path": str(TUN_DEVICE)},
        help=(
            "load the kernel's module, as root: `modprobe tun`",
            "in a container, pass it in: `--device /dev/net/tun`",
        ),
    )


def _may_make_devices() -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return bool(effective >> _CAP_NET_ADMIN & 1) and os.access(TUN_DEVICE, os.R_OK | os.W_OK)


def _open(bridge: str, index: int) -> int:
    """Raises: `OSError`."""
    device = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        made = fcntl.ioctl(device, _TUNSETIFF, _request(_NAME, struct.pack("=H", flags)))
        _attach(made[:16], bridge, index)
    except BaseException:
        os.close(device)
        raise
    return device


def _attach(name: bytes, bridge: str, index: int) -> None:
    bridge_name = bridge.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        # A bridge takes the lowest address of its ports for its own: this one is never the lowest. As QEMU's helper does.
        hardware = fcntl.ioctl(control, _SIOCGIFHWADDR, _request(name))[16:]
        fcntl.ioctl(control, _SIOCSIFHWADDR, _request(name, hardware[:2] + b"\xfe" + hardware[3:]))
        mtu = fcntl.ioctl(control, _SIOCGIFMTU, _request(bridge_name))[16:20]
        fcntl.ioctl(control, _SIOCSIFMTU, _request(name, mtu))
        own = socket.if_nametoindex(name.rstrip(b"\0").decode())
        fcntl.ioctl(control, _SIOCBRADDIF, _request(bridge_name, struct.pack("=i", own)))
        flags = struct.unpack_from("=H", fcntl.ioctl(control, _SIOCGIFFLAGS, _request(name)), 16)[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, _request(name, struct.pack("=H", flags | _IFF_UP)))


def _request(name: bytes, value: bytes = b"") -> bytes:
    """A `struct ifreq`."""
    return (name.ljust(16, b"\0")[:16] + value).ljust(_REQUEST_BYTES, b"\0")
