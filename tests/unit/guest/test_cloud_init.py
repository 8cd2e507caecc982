"""What a guest is told at its first boot."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.golden import assert_golden
from unit.samples import full_spec, spec
from vm_manager.domain.network import Network, NetworkMode
from vm_manager.domain.spec import CloudInit, SshAccess, VmSpec
from vm_manager.guest.cloud_init import SeedDocuments, seed_documents
from vm_manager.vmfile.user_data import host_keys_of

_PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"
_PUBLIC = "ssh-ed25519 AAAAC3NzaHost web"
_LOGIN = "ssh-ed25519 AAAAC3NzaLogin vmctl-web"


def _documents(wanted: VmSpec, user_data: bytes | None = None) -> SeedDocuments:
    return seed_documents(
        wanted, instance_id="i-1", host_key=(_PRIVATE, _PUBLIC), login_key=_LOGIN, user_data=user_data
    )


def _config(document: bytes) -> object:
    assert document.startswith(b"#cloud-config\n")
    return yaml.safe_load(document)


def test_the_documents_look_as_a_person_would_write_them() -> None:
    files = _documents(full_spec()).files()
    assert list(files) == ["meta-data", "user-data", "vendor-data"]
    assert_golden("seed.txt", "".join(f"==> {name} <==\n{content.decode()}\n" for name, content in files.items()))


def test_the_instance_and_its_host_name_are_in_the_meta_data() -> None:
    assert yaml.safe_load(_documents(full_spec()).meta_data) == {"instance-id": "i-1", "local-hostname": "shop"}
    assert yaml.safe_load(_documents(spec()).meta_data)["local-hostname"] == "web"


def test_the_user_may_log_in_with_the_key_and_become_root() -> None:
    assert _config(_documents(spec(ssh=SshAccess(user="debian"))).user_data) == {
        "hostname": "web",
        "manage_etc_hosts": True,
        "users": [
            {
                "name": "debian",
                "ssh_authorized_keys": [_LOGIN],
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
            }
        ],
        "disable_root": True,
        "ssh_pwauth": False,
    }


def test_root_keeps_its_shell_and_is_let_in() -> None:
    config = _config(_documents(spec(ssh=SshAccess(user="root"))).user_data)
    assert isinstance(config, dict)
    assert config["users"] == [{"name": "root", "ssh_authorized_keys": [_LOGIN]}]
    assert config["disable_root"] is False


@pytest.mark.parametrize("raw", [b"#cloud-config\n{}\n", b"#!/bin/sh\r\n", b"\x1f\x8b\xff\x00", b""])
def test_raw_user_data_is_passed_through_to_the_byte(raw: bytes) -> None:
    assert _documents(spec(), raw).user_data == raw


def test_a_network_configuration_is_passed_through_and_without_one_there_is_no_file() -> None:
    assert "network-config" not in _documents(spec()).files()
    documents = seed_documents(
        spec(), instance_id="i-1", host_key=(_PRIVATE, _PUBLIC), network_config=b"version: 2\r\n"
    )
    assert documents.files()["network-config"] == b"version: 2\r\n"


@pytest.mark.parametrize("user_data", [None, b"#!/bin/sh\n"])
def test_the_host_key_comes_with_the_vendor_data_whatever_the_user_data_is(user_data: bytes | None) -> None:
    assert _config(_documents(spec(), user_data).vendor_data) == {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": _PRIVATE, "ed25519_public": _PUBLIC},
    }


@settings(max_examples=50, deadline=None, database=None)
@given(
    hostname=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), user=st.text(st.characters(codec="ascii"))
)
def test_any_text_comes_back_out_of_the_yaml(hostname: str, user: str) -> None:
    documents = _documents(spec(cloud_init=CloudInit(hostname=hostname), ssh=SshAccess(user=user)))
    config = _config(documents.user_data)
    assert isinstance(config, dict)
    assert (config["hostname"], config["users"][0]["name"]) == (hostname, user)


@pytest.mark.parametrize(
    ("user_data", "keys"),
    [
        (None, ()),
        (b"", ()),
        (b"#!/bin/sh\nssh_keys: {ed25519_public: a}\n", ()),
        (b"#cloud-config\n", ()),
        (b"#cloud-config\nssh_keys: [a]\n", ()),
        (b"#cloud-config\n- ssh_keys\n", ()),
        (b"#cloud-config\n[\n", ()),
        (b"#cloud-config\npackages: [a]\n", ()),
        (
            b"#cloud-config\nssh_keys: {rsa_private: x, rsa_public: ssh-rsa AAAA1, ed25519_public: 'ssh-ed25519 AAAA2 me '}\n",
            ("ssh-rsa AAAA1", "ssh-ed25519 AAAA2 me"),
        ),
    ],
)
def test_host_keys_that_user_data_brings_are_found(user_data: bytes | None, keys: tuple[str, ...]) -> None:
    assert host_keys_of(user_data) == keys


def test_user_data_that_yaml_chokes_on_brings_no_host_keys() -> None:
    assert host_keys_of(b"#cloud-config\nx: 2024-13-45\n") == ()


def test_the_cards_of_a_vm_on_a_private_network_are_known_by_their_mac_addresses() -> None:
    cards = (
        Network(mac="52:56:00:00:00:01"),
        Network(mode=NetworkMode.PRIVATE, mac="52:55:0a:05:00:02", name="backend", address="10.5.0.2/24"),
    )
    documents = _documents(spec(networks=cards))
    assert yaml.safe_load(documents.files()["network-config"]) == {
        "version": 2,
        "ethernets": {
            "net0": {"match": {"macaddress": "52:56:00:00:00:01"}, "dhcp4": True},
            "net1": {"match": {"macaddress": "52:55:0a:05:00:02"}, "addresses": ["10.5.0.2/24"]},
        },
    }
    # What vmctl adds to it must outlive the guest's own restarts.
    assert yaml.safe_load(documents.user_data)["manage_etc_hosts"] == "localhost"


def test_cards_on_bridges_beside_others_are_all_configured_and_known_by_their_mac_addresses() -> None:
    cards = (Network(), Network(mode=NetworkMode.TAP, bridge="br0"), Network(mode=NetworkMode.TAP, bridge="br1"))
    macs = ("52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03")
    documents = seed_documents(spec(networks=cards), instance_id="i-1", host_key=("private", "public"), macs=macs)
    # Only the first one leads out, and no boot waits for the others.
    beside = {"dhcp4": True, "dhcp4-overrides": {"route-metric": 2048}, "optional": True}
    assert yaml.safe_load(documents.files()["network-config"])["ethernets"] == {
        "net0": {"match": {"macaddress": macs[0]}, "dhcp4": True},
        "net1": {"match": {"macaddress": macs[1]}, **beside},
        "net2": {"match": {"macaddress": macs[2]}, **beside},
    }
    assert (
        "network-config"
        not in seed_documents(
            spec(networks=cards[1:2]), instance_id="i-1", host_key=("private", "public"), macs=macs[1:2]
        ).files()
    )
