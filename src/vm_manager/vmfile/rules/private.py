"""Private networks: who is on which, and under which address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.network import NetworkMode
from vm_manager.domain.private_network import address_of
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.rules.setting import Setting


@dataclass(frozen=True)
class _Card:
    """span: of its address, else of the whole network node."""

    vm: str
    network: str
    address: IPv4Interface
    span: Span


def _cards(vm: Block) -> Iterator[_Card]:
    for block in vm.all("network"):
        name, given = block.get("name", str), block.get("address", str)
        if block.text == NetworkMode.PRIVATE and name and vm.text:
            address = given.value if given else address_of(name.value, vm.text)
            yield _Card(vm.text, name.value, IPv4Interface(address), given.span if given else block.span)


def _networks_are_apart(vm: Block, setting: Setting) -> None:
    before: list[_Card] = []
    for card in _cards(vm):
        same = next((other for other in before if other.network == card.network), None)
        meets = next((other for other in before if other.address.network.overlaps(card.address.network)), None)
        if same:
            setting.problems.add(
                card.span, f"two cards on the private network '{card.network}'", "again here", "remove one of the two",
                related=((same.span, "first here"),),
            )  # fmt: skip
        elif meets:
            setting.problems.add(
                card.span, f"two networks with the same addresses: {card.address.network}", "overlaps with the other one",
                'give one of them another: network "private" name="…" address="10.5.0.2/24"',
                related=((meets.span, "the other one"),),
            )  # fmt: skip
        before.append(card)


def _user_config_has_no_addresses(vm: Block, setting: Setting) -> None:
    cloud_init = vm.first("cloud-init")
    config = cloud_init.first("network-config") if cloud_init else None
    card = next(_cards(vm), None)
    if config and card:
        setting.problems.warn(
            config.span, "a private network with a network configuration of one's own", "vmctl adds nothing to it",
            f"give the card {card.address} in it", related=((card.span, "this card"),),
        )  # fmt: skip


def _addresses_fit(vms: Sequence[Block], problems: Problems) -> None:
    first: dict[str, _Card] = {}
    taken: dict[tuple[str, str], _Card] = {}
    for card in (card for vm in vms for card in _cards(vm)):
        there = first.setdefault(card.network, card)
        other = taken.setdefault((card.network, str(card.address.ip)), card)
        if there.address.network != card.address.network:
            problems.add(
                card.span, f"{card.address} is not on the same network as {there.address}", "another network",
                f"write an address of {there.address.network}: such as {_next(there.address)}",
                related=((there.span, f"'{card.network}' begins here"),),
            )  # fmt: skip
        elif other.vm != card.vm:
            problems.add(
                card.span, f"the VMs '{other.vm}' and '{card.vm}' have the same address: {card.address.ip}", "again here",
                f'give one of them another: address="{_next(card.address)}"', related=((other.span, "first here"),),
            )  # fmt: skip


def _next(address: IPv4Interface) -> str:
    """Another address of the same network."""
    network = address.network
    hosts = (network.network_address + number for number in range(1, network.num_addresses - 1))
    return f"{next(host for host in hosts if host != address.ip)}/{network.prefixlen}"


PRIVATE_VM_RULES = (_networks_are_apart, _user_config_has_no_addresses)
PRIVATE_RULES = (_addresses_fit,)
