"""Logging in, as far as it can be tried without a server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import NoKey, SshError, SshFailed
from vm_manager.domain.instance import Endpoint
from vm_manager.guest.boot import Phase, probe
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.keys import generate_key_pair
from vm_manager.guest.ssh import SshSession


@pytest.fixture
def closed() -> Endpoint:
    """An address that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", listener.getsockname()[1])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    path.write_text(generate_key_pair("test").private)
    return path


def _connect(endpoint: Endpoint, keys: tuple[Path, ...], known_hosts: Path) -> None:
    SshSession.connect(
        endpoint, alias="web", credentials=Credentials("debian", keys, agent=False), known_hosts=known_hosts
    )


def test_a_closed_port_is_worth_another_try(closed: Endpoint, key: Path, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    with pytest.raises(SshFailed) as caught:
        _connect(closed, (key,), tmp_path / "known_hosts")
    assert caught.value.diagnostic.retryable
    assert probe(closed) is Phase.SSHD


def test_a_vm_without_pinned_host_keys_is_an_ssh_failure(closed: Endpoint, key: Path, tmp_path: Path) -> None:
    with pytest.raises(SshError):
        _connect(closed, (key,), tmp_path / "known_hosts")


def test_without_any_key_nothing_is_tried(closed: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage")
    for keys in ((), (tmp_path / "garbage",), (tmp_path / "missing",)):
        with pytest.raises(NoKey):
            _connect(closed, keys, tmp_path / "known_hosts")


def test_a_server_that_is_silent_is_a_guest_that_still_boots() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert probe(Endpoint("127.0.0.1", listener.getsockname()[1])) is Phase.BOOT
