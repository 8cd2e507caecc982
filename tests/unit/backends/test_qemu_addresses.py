"""Where a guest on a bridge is looked for, and whom it cannot pass for."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostile_qemu import Behaviour, behind, endless, monitor
from unit.samples import record, spec
from vm_manager.backends.qemu.addresses import Sighting, sight
from vm_manager.backends.qemu.sockets import AGENT_SOCKET, QUERY_SOCKET
from vm_manager.domain.instance import Endpoint, InstanceRecord
from vm_manager.domain.network import Network, NetworkMode
from vm_manager.host.leases import VARIABLE
from within import within

_MAC, _OTHER = "52:54:00:12:34:56", "52:54:00:65:43:21"
# RFC 5737: nobody's.
_ADDRESS = "192.0.2.7"


def _record() -> InstanceRecord:
    data = {"uuid": "11111111-2222-3333-4444-555555555555", "mac": _MAC, "version": 1}
    card = Network(mode=NetworkMode.TAP, bridge="br0")
    return record(spec(networks=(card,)), backend="qemu", backend_data=data)


def _agent(interfaces: object) -> Behaviour:
    """A guest's agent that says this of the guest's cards."""

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b'\xff{"return": 1}\n')
        connection.recv(4096)
        connection.sendall(json.dumps({"return": interfaces}).encode() + b"\n")
        connection.recv(4096)

    return behave


def _card(mac: object, *addresses: object) -> dict[str, object]:
    return {"name": "eth0", "hardware-address": mac, "ip-addresses": [{"ip-address": it} for it in addresses]}


@contextmanager
def _guest(home: Path, agent: Behaviour) -> Iterator[None]:
    with behind(home / QUERY_SOCKET, monitor(lambda command: None)), behind(home / AGENT_SOCKET, agent):
        yield


def _seen(home: Path, agent: Behaviour) -> Sighting:
    with _guest(home, agent), within(15):
        return sight(_record(), home, agent_s=2.0)


def test_without_anything_each_place_is_named_that_was_looked_at(tmp_path: Path) -> None:
    found = sight(_record(), tmp_path, agent_s=0.1)
    assert found.endpoint is None
    neighbours, leases, agent = found.evidence.lines
    assert neighbours.startswith("neighbours: none among ")
    assert neighbours.endswith(f" that the kernel knows for {_MAC}")
    assert leases.startswith("leases: none ")
    assert agent == "guest agent: none is running in the guest"


def test_a_lease_of_this_card_is_where_the_guest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leases").write_text(f"0 {_MAC} {_ADDRESS} * *\n0 {_OTHER} 192.0.2.8 * *\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "leases"))
    found = sight(_record(), tmp_path, agent_s=0.1)
    assert found.endpoint == Endpoint(_ADDRESS, 22)
    assert f"leases: {_ADDRESS}" in found.evidence.lines


def test_of_two_addresses_the_one_that_answers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This host has no address that is not its own: so nobody answers, and the lease comes first that was written first.
    (tmp_path / "leases").write_text(f"0 {_MAC} 192.0.2.9 * *\n0 {_MAC} {_ADDRESS} * *\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "leases"))
    assert sight(_record(), tmp_path, agent_s=0.1).endpoint == Endpoint("192.0.2.9", 22)


@pytest.mark.parametrize(
    ("interfaces", "host"),
    [
        ([_card(_OTHER, "192.0.2.8"), _card(_MAC, "127.0.0.1", _ADDRESS)], _ADDRESS),
        ([_card(_MAC.upper(), "fe80::5054:ff:fe12:3456", _ADDRESS)], _ADDRESS),
        ([_card(_MAC, "fe80::5054:ff:fe12:3456")], "fe80::5054:ff:fe12:3456%br0"),
        # What is no address of a guest's.
        ([_card(_MAC, "127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "ff02::1", "::ffff:127.0.0.1", "web", "", 7, None, [1])], None),
        ([_card(_MAC, "fe80::1%eth0", "10.0.0.1\n", "10.0.0.1; true", "-oProxyCommand=true")], None),
        # Without its MAC address, or another one's.
        ([_card(_OTHER, _ADDRESS), _card(None, _ADDRESS), _card([_MAC], _ADDRESS), {"ip-addresses": []}], None),
        ({"hardware-address": _MAC}, None),
        ([_card(_MAC, *[f"224.0.{number >> 8}.{number & 255}" for number in range(1000)], _ADDRESS)], None),
        ("x", None),
        (None, None),
    ],
)  # fmt: skip
def test_what_the_guests_agent_says_of_its_card(tmp_path: Path, interfaces: object, host: str | None) -> None:
    found = _seen(tmp_path, _agent(interfaces)).endpoint
    assert (found.host if found else None) == host


def _slow(connection: socket.socket) -> None:
    for byte in b'\xff{"return": 1}\n' * 1000:
        connection.sendall(bytes([byte]))
        if connection.recv(1) == b"":
            return


@pytest.mark.parametrize(
    "agent",
    [
        endless(b"x"),
        endless(b"\xff"),
        endless(b'\xff{"return": []}\n'),
        _slow,
        _agent("[" * 60_000),
        lambda connection: None,
    ],
    ids=["endless", "marks", "answers", "slow", "long", "silent"],
)
def test_an_agent_that_means_no_good_has_no_address(tmp_path: Path, agent: Behaviour) -> None:
    assert _seen(tmp_path, agent).endpoint is None


def test_an_address_of_this_host_is_not_the_guests(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((_ADDRESS, 9))
        own = out.getsockname()[0]
    found = _seen(tmp_path, _agent([_card(_MAC, own)]))
    assert found.endpoint is None
    assert f"{own} is not used: this host has it" in found.evidence.lines


def test_a_port_of_an_ipv6_address_is_written_in_brackets() -> None:
    assert str(Endpoint("fe80::1%br0", 22)) == "[fe80::1%br0]:22"
    assert str(Endpoint("10.0.0.7", 2222)) == "10.0.0.7:2222"
