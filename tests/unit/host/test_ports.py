"""Ports of this host: free or taken, and by whom."""

from __future__ import annotations

import os
import socket

import pytest

from vm_manager.diagnostics.errors import PortInUse, PortUnavailable
from vm_manager.domain.network import ANY_ADDRESS, LOOPBACK, Forward, Transport
from vm_manager.host.ports import first_refused, holder, is_free, port_in_use

_KIND = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(
    ("taken_at", "wanted_at"), [(LOOPBACK, LOOPBACK), (ANY_ADDRESS, LOOPBACK), (LOOPBACK, ANY_ADDRESS)]
)
def test_a_port_that_somebody_listens_on_is_taken_and_its_holder_is_named(
    transport: Transport, taken_at: str, wanted_at: str
) -> None:
    with socket.socket(type=_KIND[transport]) as server:
        server.bind((taken_at, 0))
        if transport is Transport.TCP:
            server.listen()
        forward = Forward(host=server.getsockname()[1], guest=80, transport=transport, address=wanted_at)
        assert not is_free(forward)
        assert str(holder(forward)).endswith(f" (pid {os.getpid()})")
        found = first_refused((Forward(guest=80), forward), lambda forward: None)
        assert isinstance(found, PortInUse)
        error = found.diagnostic
        assert error.message.startswith(f"port {forward.host}/{transport} on {wanted_at} is in use by ")
    assert is_free(forward)
    assert holder(forward) is None
    assert first_refused((forward,), lambda forward: None) is None


def test_the_same_port_of_the_other_transport_is_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert is_free(Forward(host=server.getsockname()[1], guest=80, transport=Transport.UDP))


def test_an_address_that_this_host_does_not_have() -> None:
    found = first_refused([Forward(host=8080, guest=80, address="192.0.2.1")], lambda forward: None)
    assert isinstance(found, PortUnavailable)
    assert "this host does not have the address 192.0.2.1" in str(found)


def test_how_to_find_the_holder_is_said_where_it_is_not_known() -> None:
    (stop, other) = port_in_use(Forward(host=1, guest=80, transport=Transport.UDP)).diagnostic.help
    assert "`ss -lnpu 'sport = :1'` as root" in stop
    assert 'forward host="auto" guest=80' in other
