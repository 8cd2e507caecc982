"""SSH servers that mean no good: one that speaks the protocol and then misbehaves, and one that need not even speak it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED, cMSG_CHANNEL_SUCCESS

from vm_manager.domain.instance import Endpoint
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.keys import generate_key_pair
from vm_manager.guest.openssh import known_hosts_text

#: What a server does with a command, on its channel.
Behaviour = Callable[[paramiko.Channel], None]


@dataclass(frozen=True)
class Sshd:
    """Where it listens, who is let in, and the file with its key, pinned for the alias `web`."""

    endpoint: Endpoint
    credentials: Credentials
    known_hosts: Path


class _Server(paramiko.ServerInterface):
    def __init__(self, behave: Behaviour, ended: threading.Event, lets_in: bool, methods: str) -> None:
        self._behave, self._ended, self._lets_in, self._methods = behave, ended, lets_in, methods
        self._commands: list[paramiko.Channel] = []

    def get_allowed_auths(self, username: str) -> str:
        return self._methods

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self._methods != "publickey":
            return AUTH_FAILED
        if not self._lets_in:
            self._ended.wait(120)
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._commands.append(channel)
        return True

    def answered(self) -> None:
        """The client has been told that its command runs. Before, nothing may be said of it, least of all that it ended."""
        while self._commands:
            threading.Thread(target=self._run, args=(self._commands.pop(),), daemon=True).start()

    def _run(self, channel: paramiko.Channel) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._behave(channel)
            channel.close()


class _Transport(paramiko.Transport):
    def __init__(self, connection: socket.socket, server: _Server) -> None:
        super().__init__(connection)
        self._server = server

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        if data.asbytes().startswith(cMSG_CHANNEL_SUCCESS):
            self._server.answered()


def _speak(connection: socket.socket, key: paramiko.PKey, server: _Server) -> paramiko.Transport:
    transport = _Transport(connection, server)
    transport.add_server_key(key)
    transport.start_server(event=threading.Event(), server=server)
    return transport


@contextmanager
def hostile_sshd(
    directory: Path, behave: Behaviour, *, lets_in: bool = True, methods: str = "publickey"
) -> Iterator[Sshd]:
    """A server that does with every command what `behave` does.

    lets_in: else it never answers to a key. methods: by which it says that one can log in; with others, no key is right.
    """
    host, user = generate_key_pair("host"), generate_key_pair("user")
    for name, pair in (("host", host), ("id", user)):
        (directory / name).write_text(pair.private)
        (directory / name).chmod(0o600)
    ended = threading.Event()
    transports: list[paramiko.Transport] = []
    key = paramiko.PKey.from_path(directory / "host")

    def answer(connection: socket.socket) -> None:
        transports.append(_speak(connection, key, _Server(behave, ended, lets_in, methods)))

    try:
        with listening(answer) as endpoint:
            known = directory / "known_hosts"
            known.write_text(known_hosts_text("web", (host.public,)))
            yield Sshd(endpoint, Credentials("root", (directory / "id",), agent=False), known)
    finally:
        ended.set()
        for transport in transports:
            transport.close()


@contextmanager
def listening(answer: Callable[[socket.socket], None], address: str = "127.0.0.1") -> Iterator[Endpoint]:
    """A port of this host; each connection is answered in a thread of its own."""
    ended = threading.Event()
    open_ones: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            answer(connection)

    def accept(listener: socket.socket) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(60)
                open_ones.append(connection)
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    with socket.create_server((address, 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield Endpoint(address, listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()
            for connection in open_ones:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
