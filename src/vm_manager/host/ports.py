"""Ports of this host: whether one is free, and who listens on it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.errors import HostError, PortInUse, PortUnavailable
from vm_manager.domain.network import Forward, Transport

_PROC = Path("/proc")
# proc(5), /proc/net/tcp: TCP_LISTEN, and what a UDP socket that is not connected is in.
_LISTENING = {Transport.TCP: "0A", Transport.UDP: "07"}
_KIND = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
_LINES = 100_000


def is_free(forward: Forward) -> bool:
    """Whether a forward's port can be listened on now."""
    return _refused(forward) is None


def _refused(forward: Forward) -> int | None:
    """The number of the error (errno(3)) with which the kernel refuses to let us listen there; None when it does not."""
    assert forward.host is not None, "there is no port to look at"
    with socket.socket(type=_KIND[forward.transport]) as probe:
        if forward.transport is Transport.TCP:
            # As QEMU does: connections that have just ended are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((forward.address, forward.host))
            if forward.transport is Transport.TCP:
                probe.listen(1)
        except OSError as error:
            return error.errno
    return None


def first_refused(forwards: Iterable[Forward], listener: Callable[[Forward], str | None]) -> HostError | None:
    """Why the first of these forwards that cannot be listened on cannot; None when all can.

    listener: the VM that listens where a forward shall, if it is one of ours.
    Returns: `network::port_in_use`, `network::port_unavailable`.
    """
    for forward in forwards:
        match _refused(forward) if forward.host else None:
            case None:
                continue
            case errno.EADDRINUSE:
                return port_in_use(forward, listener(forward))
            case reason:
                return _unavailable(forward, reason)
    return None


def _unavailable(forward: Forward, reason: int) -> PortUnavailable:
    """What no program of this user can listen on, now or later."""
    port = forward.host or 0
    told = {"port": forward.host_port, "address": forward.address}
    match reason:
        case errno.EADDRNOTAVAIL:
            here = "127.0.0.1 is this host alone, 0.0.0.0 all of its addresses: `ip -brief address` lists them"
            return PortUnavailable(
                "this host does not have the address {address} of forward {port}", told, help=(here,)
            )
        case errno.EACCES:
            first = _first_unprivileged()
            return PortUnavailable(
                "only root can listen on port {port}: those below {first} are reserved",
                {**told, "first": first},
                help=(
                    f"forward another port, such as `forward host={port + 8000} guest={forward.guest}`",
                    f"to let all users have it, as root: `sysctl net.ipv4.ip_unprivileged_port_start={port}`",
                ),
            )
    return PortUnavailable(
        "port {port} on {address} cannot be listened on: {why}",
        {**told, "why": os.strerror(reason)},
        help=(f'forward another port: `forward host="auto" guest={forward.guest}` picks a free one',),
    )


def _first_unprivileged() -> int:
    try:
        return int((_PROC / "sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def port_in_use(forward: Forward, vm: str | None = None) -> PortInUse:
    """The failure of a VM that needs a port that is taken. vm: the one that listens on it, where it is one of ours."""
    by = f"VM '{vm}'" if vm else holder(forward)
    program = f"stop the program that listens on it{'' if by else f': `{_finder(forward)}` as root names it'}"
    return PortInUse(
        "port {port} on {address} is in use{by}",
        {"port": forward.host_port, "address": forward.address, "by": f" by {by}" if by else ""},
        help=(
            f"stop that VM: `vmctl stop {vm}`" if vm else program,
            f'or forward another port: `forward host="auto" guest={forward.guest}` picks a free one',
        ),
    )


def _finder(forward: Forward) -> str:
    return f"ss -lnp{'t' if forward.transport is Transport.TCP else 'u'} 'sport = :{forward.host}'"


def is_listened_on(forward: Forward) -> bool:
    """Whether somebody listens on a forward's port, found out without taking it, which would be in their way."""
    assert forward.host is not None, "there is no port to look at"
    return any(_sockets(forward.transport, forward.host))


def holder(forward: Forward) -> str | None:
    """The process that listens on a forward's port: `nginx (pid 4711)`; None when it is another user's, or gone."""
    pid = holder_pid(forward)
    with suppress(OSError):
        return f"{(_PROC / str(pid) / 'comm').read_text().strip()} (pid {pid})" if pid else None
    return None


def holder_pid(forward: Forward) -> int | None:
    """The pid of the process that listens on a forward's port; None when it is another user's, or gone."""
    assert forward.host is not None, "there is no port to look at"
    inodes = {f"socket:[{inode}]" for inode in _sockets(forward.transport, forward.host)}
    for process in _PROC.iterdir():
        if process.name.isdecimal() and inodes & set(_open_files(process)):
            return int(process.name)
    return None


def _sockets(transport: Transport, port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on a port, on whatever address. Source: proc(5)."""
    for table in (transport, f"{transport}6"):
        with suppress(OSError), (_PROC / "net" / table).open() as lines:
            for line, _ in zip(lines, range(_LINES), strict=False):
                fields = line.split()
                local, state, inode = fields[1], fields[3], fields[9]
                if state == _LISTENING[transport] and local.rpartition(":")[2] == f"{port:04X}":
                    yield inode


def _open_files(process: Path) -> Iterator[str]:
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                yield os.readlink(link)
