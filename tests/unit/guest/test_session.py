"""Logging in, as far as it can be tried without a real server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

from hostile_sshd import hostile_sshd
from vm_manager.diagnostics.errors import AuthFailed, NoKey, SshError, SshFailed
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Endpoint
from vm_manager.guest.boot import Phase, probe
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.keys import generate_key_pair
from vm_manager.guest.ssh import KeysNotAccepted, SshSession


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


@pytest.mark.parametrize(
    ("methods", "final"), [("password", True), ("keyboard-interactive,password", True), ("publickey,password", False)]
)
def test_a_server_that_takes_passwords_only_is_told_from_one_that_rejects_the_key(
    tmp_path: Path, methods: str, final: bool
) -> None:
    with hostile_sshd(tmp_path, lambda channel: None, methods=methods) as sshd, pytest.raises(AuthFailed) as caught:
        SshSession.connect(sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts)
    assert isinstance(caught.value, KeysNotAccepted) is final
    assert ("PubkeyAuthentication yes" in caught.value.diagnostic.help[0]) is final
    assert caught.value.diagnostic.causes == ()


def test_a_server_that_is_silent_is_a_guest_that_still_boots() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert probe(Endpoint("127.0.0.1", listener.getsockname()[1])) is Phase.BOOT


def test_a_server_that_says_nothing_any_more_is_given_up(tmp_path: Path) -> None:
    ended = threading.Event()

    def behave(channel: paramiko.Channel) -> None:
        # The thread that would answer whatever it is asked.
        server: Any = channel.get_transport().server_object
        server.check_global_request = lambda kind, message: ended.wait(60)
        ended.wait(60)

    def answering(channel: paramiko.Channel) -> None:
        ended.wait(6)
        channel.send_exit_status(0)

    for behaviour, is_lost in ((behave, True), (answering, False)):
        directory = tmp_path / behaviour.__name__
        directory.mkdir()
        with (
            hostile_sshd(directory, behaviour) as sshd,
            SshSession.connect(
                sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts, silence_s=2
            ) as session,
        ):
            if is_lost:
                with pytest.raises(SshFailed, match="has said nothing for 2 s"):
                    session.capture("true", Deadline(60))
                ended.set()
                ended.clear()
            else:
                assert session.capture("true", Deadline(60)).status == 0
