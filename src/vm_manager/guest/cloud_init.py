"""What a guest is told at its first boot: the documents of cloud-init's NoCloud datasource.

Source: cloud-init's documentation, "NoCloud" and "Modules".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from vm_manager.domain.network import Network, NetworkMode
from vm_manager.domain.spec import VmSpec


@dataclass(frozen=True)
class SeedDocuments:
    """The files of the seed, by their names in it."""

    meta_data: bytes
    user_data: bytes
    vendor_data: bytes
    network_config: bytes | None = None

    def files(self) -> dict[str, bytes]:
        """File name → content."""
        files = {"meta-data": self.meta_data, "user-data": self.user_data, "vendor-data": self.vendor_data}
        return files if self.network_config is None else {**files, "network-config": self.network_config}


def seed_documents(
    spec: VmSpec,
    *,
    instance_id: str,
    host_key: tuple[str, str],
    macs: Sequence[str] = (),
    login_key: str = "",
    user_data: bytes | None = None,
    network_config: bytes | None = None,
) -> SeedDocuments:
    """The documents for a guest.

    instance_id: cloud-init runs once-per-instance modules when it changes.
    host_key: the guest's own SSH identity, private and public. macs: of its cards, in their order.
    login_key: the public key that may log in, for vmctl's own user-data; user_data: raw user-data that replaces it.
    network_config: passed through; None: the addresses on private networks, DHCP on every card where one of several is on a
    bridge, and else cloud-init's own, DHCP on the first card.
    """
    return SeedDocuments(
        meta_data=_yaml({"instance-id": instance_id, "local-hostname": spec.hostname}),
        user_data=user_data if user_data is not None else _cloud_config(_user_config(spec, login_key)),
        vendor_data=_cloud_config(_host_key_config(*host_key)),
        network_config=network_config or _network_config(spec, macs),
    )


def _network_config(spec: VmSpec, macs: Sequence[str]) -> bytes | None:
    beside = spec.bridges and len(spec.networks) > 1
    if not spec.private_cards and not beside:
        return None
    first = next((card for card in spec.networks if card.mode is not NetworkMode.PRIVATE), None)
    addresses = [card.mac or mac for card, mac in zip(spec.networks, macs or [""] * len(spec.networks), strict=True)]
    cards = {
        f"net{number}": _card(card, mac, is_first=card is first)
        for number, (card, mac) in enumerate(zip(spec.networks, addresses, strict=True))
    }
    return _yaml({"version": 2, "ethernets": cards})


def _card(card: Network, mac: str, *, is_first: bool) -> dict[str, object]:
    own: dict[str, object] = {"match": {"macaddress": mac}}
    if card.mode is NetworkMode.PRIVATE:
        return own | {"addresses": [card.address]}
    # The way out leads through the first one, and no boot waits for a server that a second one may not have.
    return own | {"dhcp4": True} | ({} if is_first else {"dhcp4-overrides": {"route-metric": 2048}, "optional": True})


def _user_config(spec: VmSpec, login_key: str) -> dict[str, object]:
    user = spec.access.user
    account: dict[str, object] = {"name": user, "ssh_authorized_keys": [login_key]}
    if user != "root":
        account |= {"shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": True}
    return {
        "hostname": spec.hostname,
        # Else every sudo complains that it cannot resolve the host's own name. "localhost" leaves what others have added,
        # such as the names of peers, where True writes the whole file at every boot.
        "manage_etc_hosts": "localhost" if spec.private_cards else True,
        "users": [account],
        "disable_root": user != "root",
        "ssh_pwauth": False,
    }


def _host_key_config(private: str, public: str) -> dict[str, object]:
    # In vendor-data, so that it holds whatever the user's own user-data looks like: the first connection is verified.
    return {"ssh_deletekeys": True, "ssh_keys": {"ed25519_private": private, "ed25519_public": public}}


def _cloud_config(config: dict[str, object]) -> bytes:
    return b"#cloud-config\n" + _yaml(config)


def _yaml(document: dict[str, object]) -> bytes:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)
    return text.encode()


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, as a person would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
