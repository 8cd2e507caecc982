"""Private networks in a VMFile: who is on which, under which address, and who knows whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, problems, write
from vm_manager.domain.network import NetworkMode, Peer
from vm_manager.domain.private_network import address_of, mac_on
from vm_manager.domain.spec import VmSpec
from vm_manager.vmfile.load import load

_BACKEND = 'network "private" name="backend"'


def _vm(name: str, *networks: str) -> str:
    return f'vm "{name}" {{ {IMAGE}; {"; ".join(networks)} }}\n'


def _specs(directory: Path, *vms: str) -> dict[str, VmSpec]:
    return {spec.name: spec for spec in load(write(directory, "".join(vms))).specs}


def test_vms_of_one_network_know_each_other_and_no_one_else(tmp_path: Path) -> None:
    specs = _specs(
        tmp_path,
        _vm("web", 'network "user"', _BACKEND, 'network "private" name="front"'),
        _vm("db", _BACKEND),
        _vm("proxy", 'network "private" name="front"'),
        _vm("alone"),
    )
    known = {name: [peer.name for peer in spec.peers] for name, spec in specs.items()}
    assert known == {"web": ["db", "proxy"], "db": ["web"], "proxy": ["web"], "alone": []}
    (card,) = specs["db"].private_cards
    assert specs["web"].peers[0] == Peer(name="db", address=str(card.address).partition("/")[0])


def test_addresses_come_from_names_and_stay_whatever_else_is_in_the_file(tmp_path: Path) -> None:
    alone = _specs(tmp_path, _vm("db", _BACKEND))["db"].private_cards
    beside = _specs(tmp_path, _vm("web", _BACKEND), _vm("db", _BACKEND))["db"].private_cards
    assert alone == beside
    assert alone[0].address == address_of("backend", "db")
    assert alone[0].mac == mac_on(address_of("backend", "db"))
    assert address_of("backend", "db") != address_of("backend", "web")


def test_every_card_beside_a_private_one_has_a_mac_address_for_the_network_configuration(tmp_path: Path) -> None:
    web = _specs(tmp_path, _vm("web", 'network "user"', _BACKEND))["web"]
    assert [card.mode for card in web.networks] == [NetworkMode.USER, NetworkMode.PRIVATE]
    assert len({card.mac for card in web.networks if card.mac}) == 2


def test_an_address_can_be_given(tmp_path: Path) -> None:
    given = f'{_BACKEND} address="192.168.7.2/24" mac="52:54:00:AA:00:01"'
    (card,) = _specs(tmp_path, _vm("db", given))["db"].private_cards
    assert (card.address, card.mac) == ("192.168.7.2/24", "52:54:00:aa:00:01")


@pytest.mark.parametrize(
    ("vms", "message", "help_text"),
    [
        ((_vm("web", 'network "private"'),), '`network "private"` without `name`', "name"),
        ((_vm("web", _BACKEND, _BACKEND),), "two cards on the private network 'backend'", "remove one of the two"),
        (
            (_vm("web", f'{_BACKEND} address="10.5.0.2/24"', 'network "private" name="front" address="10.5.0.3/16"'),),
            "two networks with the same addresses: 10.5.0.0/16",
            "give one of them another",
        ),
        (
            (_vm("web", f'{_BACKEND} address="10.5.0.2/24"'), _vm("db", f'{_BACKEND} address="10.5.0.2/24"')),
            "the VMs 'web' and 'db' have the same address: 10.5.0.2",
            'address="10.5.0.1/24"',
        ),
        (
            (_vm("web", f'{_BACKEND} address="10.5.0.2/24"'), _vm("db", f'{_BACKEND} address="10.6.0.2/24"')),
            "10.6.0.2/24 is not on the same network as 10.5.0.2/24",
            "write an address of 10.5.0.0/24",
        ),
        (
            (_vm("web", f'{_BACKEND} address="10.5.0.0/24"'),),
            "`address` is not an address that a card can have",
            "10.5.0.2/24",
        ),
        (
            (_vm("web", f'{_BACKEND} address="10.5.0.2"'),),
            "`address` is not an address that a card can have",
            "10.5.0.2/24",
        ),
        (
            (_vm("web", _BACKEND, 'provision "shell" { inline "x"; }'),),
            "a VM on private networks only cannot be provisioned",
            'add: network "user"',
        ),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, vms: tuple[str, ...], message: str, help_text: str) -> None:
    (found,) = problems(tmp_path, "".join(vms))
    assert message in found.message
    assert help_text in " ".join(found.help)


@pytest.mark.parametrize("length", ["٣٠", "030", "²", "", " 24", "24\\n", "7", "31", "9" * 5000])
def test_the_length_of_a_prefix_is_digits_as_networks_have_it(tmp_path: Path, length: str) -> None:
    (found,) = problems(tmp_path, _vm("web", f'{_BACKEND} address="10.5.0.2/{length}"'))
    assert "`address` is not an address that a card can have" in found.message


def test_two_names_with_one_address_are_told_and_what_helps_is_taken(tmp_path: Path) -> None:
    first: dict[str, str] = {}
    for number in range(2000):
        name = f"vm{number}"
        other = first.setdefault(address_of("backend", name), name)
        if other != name:
            break
    (found,) = problems(tmp_path, _vm(other, _BACKEND) + _vm(name, _BACKEND))
    assert f"the VMs '{other}' and '{name}' have the same address" in found.message
    given = " ".join(found.help).partition('address="')[2].partition('"')[0]
    assert len(_specs(tmp_path, _vm(other, _BACKEND), _vm(name, f'{_BACKEND} address="{given}"'))) == 2
