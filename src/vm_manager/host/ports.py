"""Ports of this host: whether one is free, and who listens on it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.errors import PortInUse
from vm_manager.domain.network import Forward, Transport

_PROC = Path("/proc")
# proc(5), /proc/net/tcp: TCP_LISTEN, and what a UDP socket that is not connected is in.
_LISTENING = {Transport.TCP: "0A", Transport.UDP: "07"}
_KIND = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
_LINES = 100_000


def is_free(forward: Forward) -> bool:
    """Whether a forward's port can be listened on now. A port that this user may not use is not for this function: True."""
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
            return error.errno != errno.EADDRINUSE
    return True


def first_taken(forwards: Iterable[Forward]) -> Forward | None:
    """The first of these forwards with a port of its own that somebody else listens on."""
    return next((forward for forward in forwards if forward.host and not is_free(forward)), None)


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
