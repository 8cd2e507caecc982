"""SSH into a guest from Python, by paramiko: verified connections, commands with live output, uploads."""

from __future__ import annotations

import codecs
import logging
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import paramiko

from vm_manager.diagnostics.errors import AuthFailed, HostKeyMismatch, NoKey, SshFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Stream
from vm_manager.domain.instance import Endpoint
from vm_manager.guest.credentials import Credentials

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 30.0
_POLL_S = 0.1
_CHUNK = 64 * 1024
# How long a finished command's output is still read while something it left behind holds it open.
_LINGER_S = 1.0

Output = Callable[[Stream, str], None]


class SshSession:
    """A verified, authenticated connection. A context manager."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client
        # One for all uploads: Dropbear ends the connection when a channel is opened while one of SFTP is being closed.
        self._sftp: paramiko.SFTPClient | None = None

    @classmethod
    def connect(cls, endpoint: Endpoint, *, alias: str, credentials: Credentials, known_hosts: Path) -> Self:
        """Connect and log in, to a server that has a key pinned under `alias` in `known_hosts`, and to no other.

        Raises: `ssh::failed` (retryable), `ssh::host_key_mismatch`, `ssh::auth_failed`, `ssh::no_key`.
        """
        keys = _usable(credentials)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            with os_errors(known_hosts), suppress(FileNotFoundError):
                client.load_host_keys(str(known_hosts))
            connection = socket.create_connection((endpoint.host, endpoint.port), _CONNECT_TIMEOUT_S)
            if alias not in client.get_host_keys():
                raise HostKeyMismatch("no SSH host key is pinned for the guest")
            _login(client, connection, alias, credentials, keys)
        except BaseException as error:
            client.close()
            if isinstance(error, paramiko.BadHostKeyException):
                raise HostKeyMismatch(
                    "the guest at {host}:{port} has another SSH host key than the pinned one",
                    {"host": endpoint.host, "port": endpoint.port},
                ) from error
            if isinstance(error, paramiko.AuthenticationException):
                raise AuthFailed("the guest refused the key of user '{user}'", {"user": credentials.user}) from error
            if isinstance(error, (paramiko.SSHException, OSError, EOFError)):
                raise SshFailed("no SSH session could be opened", retryable=True) from error
            raise
        return cls(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def run(self, command: str, output: Output, deadline: Deadline, tick: Callable[[], None] = lambda: None) -> int:
        """Run a command line in the guest without input; its output is handed over as it arrives.

        tick: called several times a second, and may raise to end the wait.
        Returns its exit status, -1 when a signal ended it. Raises: `ssh::failed` when the connection is lost.
        """
        with _lost_connections():
            channel = self._open_channel()
            channel.exec_command(command)
            channel.shutdown_write()
        return _Listener(channel, output).until_exit(deadline, tick)

    def capture(
        self, command: str, deadline: Deadline, tick: Callable[[], None] = lambda: None
    ) -> tuple[int, str, str]:
        """Run a command line; its exit status, standard output and standard error. Raises: `ssh::failed`."""
        heard: dict[Stream, list[str]] = {Stream.STDOUT: [], Stream.STDERR: []}
        status = self.run(command, lambda stream, text: heard[stream].append(text), deadline, tick)
        return status, "".join(heard[Stream.STDOUT]), "".join(heard[Stream.STDERR])

    def upload(self, source: BinaryIO, destination: str, mode: int) -> None:
        """Write a file in the guest, as the user logged in. Raises: `ssh::failed`, `OSError` for the guest's refusal."""
        try:
            if self._sftp is None:
                self._sftp = self._client.open_sftp()
            self._sftp.putfo(source, destination)
            self._sftp.chmod(destination, mode)
        except (paramiko.SSHException, EOFError) as error:
            raise SshFailed("the SSH connection was lost during an upload", retryable=True) from error

    def _open_channel(self) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None:
            raise EOFError
        return transport.open_session(timeout=_CONNECT_TIMEOUT_S)


def offered_host_key(endpoint: Endpoint) -> str:
    """The host key that the server at an endpoint shows, as `type base64`. Raises: `ssh::failed`."""
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), _CONNECT_TIMEOUT_S)
        with connection, paramiko.Transport(connection) as transport:
            transport.start_client(timeout=_CONNECT_TIMEOUT_S)
            key = transport.get_remote_server_key()
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise SshFailed("the guest showed no SSH host key", retryable=True) from error
    return f"{key.get_name()} {key.get_base64()}"


@contextmanager
def _lost_connections() -> Iterator[None]:
    """Translate what paramiko raises when the connection is gone; around its calls only, not around ours."""
    try:
        yield
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise SshFailed("the SSH connection was lost", retryable=True) from error


class _Listener:
    """Reads both outputs of a running command as they come."""

    def __init__(self, channel: paramiko.Channel, output: Output) -> None:
        self._channel = channel
        self._output = output
        # A character may arrive in two halves.
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {Stream.STDOUT: decoder("replace"), Stream.STDERR: decoder("replace")}

    def until_exit(self, deadline: Deadline, tick: Callable[[], None]) -> int:
        channel = self._channel
        while not channel.exit_status_ready():
            self._listen()
            tick()
            if deadline.expired:
                raise TimeoutError("the command did not end in time")
        linger = Deadline(_LINGER_S, deadline.cancel)
        while not channel.eof_received and not linger.expired:
            self._listen()
        self._drain()
        transport = channel.get_transport()
        if channel.exit_status == -1 and not transport.is_active():
            raise SshFailed("the SSH connection was lost", retryable=True)
        channel.close()
        return channel.exit_status

    def _listen(self) -> None:
        # The channel's descriptor is readable when either stream has data or has ended.
        select.select([self._channel], [], [], _POLL_S)
        self._drain()

    def _drain(self) -> None:
        channel = self._channel
        while channel.recv_ready():
            with _lost_connections():
                data = channel.recv(_CHUNK)
            self._say(Stream.STDOUT, data)
        while channel.recv_stderr_ready():
            with _lost_connections():
                data = channel.recv_stderr(_CHUNK)
            self._say(Stream.STDERR, data)

    def _say(self, stream: Stream, data: bytes) -> None:
        text = self._decoders[stream].decode(data)
        if text:
            self._output(stream, text)


def _login(
    client: paramiko.SSHClient, connection: socket.socket, alias: str, credentials: Credentials, keys: list[str]
) -> None:
    # paramiko takes a list of files here, although its type stubs know a single one.
    client.connect(
        alias,
        sock=connection,
        username=credentials.user,
        key_filename=keys,  # type: ignore[arg-type]
        allow_agent=credentials.agent,
        look_for_keys=False,
        timeout=_CONNECT_TIMEOUT_S,
        banner_timeout=_CONNECT_TIMEOUT_S,
        auth_timeout=_CONNECT_TIMEOUT_S,
    )


def _usable(credentials: Credentials) -> list[str]:
    """The keys that can be read without a passphrase. Raises: `ssh::no_key` when nothing at all could be offered."""
    usable, locked = [], []
    for path in credentials.keys:
        try:
            paramiko.PKey.from_path(path)
            usable.append(str(path))
        except paramiko.PasswordRequiredException:
            locked.append(str(path))
        except (paramiko.SSHException, OSError, ValueError) as error:
            _log.info("key %s cannot be used: %s", path, error)
    if usable or credentials.agent:
        return usable
    if locked:
        help_text = f"load it into an agent: `ssh-add {locked[0]}`"
        raise NoKey("the private key {path} has a passphrase", {"path": locked[0]}, help=(help_text,))
    raise NoKey("there is no private key to log in with")
