"""Key pairs that OpenSSH and paramiko can use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from vm_manager.diagnostics.errors import KeygenFailed
from vm_manager.guest.keys import generate_key_pair


def test_both_halves_belong_together() -> None:
    pair = generate_key_pair("vmctl-web")
    private = load_ssh_private_key(pair.private.encode(), None)
    assert private.public_key() == load_ssh_public_key(pair.public.encode())
    assert pair.public.split()[0] == "ssh-ed25519"
    assert pair.public.split()[2] == "vmctl-web"


def test_paramiko_and_openssh_read_the_private_key(tmp_path: Path) -> None:
    pair = generate_key_pair("vmctl-web")
    path = tmp_path / "id"
    path.touch(mode=0o600)
    path.write_text(pair.private)
    assert paramiko.PKey.from_path(path).get_base64() == pair.public.split()[1]
    done = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == pair.public.split()[:2]


def test_every_pair_is_another_one() -> None:
    assert generate_key_pair("a").private != generate_key_pair("a").private


def test_a_generator_that_fails_is_an_internal_error() -> None:
    def fail() -> Ed25519PrivateKey:
        raise OSError(5, "no entropy")

    with pytest.raises(KeygenFailed) as caught:
        generate_key_pair("vmctl-web", fail)
    assert caught.value.exit_code == 70
    assert caught.value.diagnostic.causes[0].message == "no entropy"
