"""What a guest reaches of its host through the network."""

from __future__ import annotations

import socket

from conftest import TinyGuest
from driver import Vmctl


def _reaches(vmctl: Vmctl, service: socket.socket) -> bool:
    """Whether the guest gets through to a service that listens on the host's loopback address only."""
    vmctl("ssh", "tiny", "--", f"timeout 10 nc 10.0.2.2 {service.getsockname()[1]} </dev/null", status=None)
    try:
        service.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_a_guest_reaches_the_hosts_loopback_unless_it_is_isolated(running: Vmctl, tiny: TinyGuest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(0)
        assert _reaches(running, service)
        running.write(tiny.vm(body='network "user" isolated=#true'))
        assert "isolated changed" in running("up").stdout
        running("down", "--timeout", "0")
        running("up")
        assert "Network:      user, isolated" in running("status", "tiny").stdout
        assert not _reaches(running, service)
        assert running("ssh", "tiny", "--", "echo alive").stdout == "alive\n"
