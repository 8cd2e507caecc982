"""SSH into a guest from Python, by paramiko: verified connections, and commands with live input and output."""

from __future__ import annotations

import codecs
import logging
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST

from vm_manager.diagnostics.errors import AuthFailed, HostKeyMismatch, NoKey, SshFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Stream
from vm_manager.domain.instance import Endpoint
from vm_manager.domain.private_keys import without_passphrase
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.wary_socket import UNREAD_BYTES, WarySocket, ended_at

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 30.0
# Altogether, however many keys are tried and however slowly the server speaks.
_LOGIN_S = 60.0
# Far more than anything that vmctl asks a guest has to say.
_CAPTURED_CHARS = 2 * 1024**2
_POLL_S = 0.1
_CHUNK = 64 * 1024
# A guest that restarts says no farewell: only who speaks to it learns that it knows the connection no more. One whose network
# is gone says nothing at all, and QEMU keeps the connection; a busy one was seen to answer after half a minute.
_KEEPALIVE_S, _SILENCE_S = 15.0, 120.0
# Something that a finished command left behind may hold its output open for ever. What the command itself wrote comes at
# once and in one go, and is no more than the connection's window and the pipe behind it hold.
_QUIET_S = 1.0
_LINGER_S = 10.0
_UNDER_WAY_BYTES = 3 * 1024**2

Output = Callable[[Stream, str], None]


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    status: its exit status, or 128 and more when a signal ended it, as a shell would say. signal: that signal's name, such
    as SIGKILL, or None.
    output_held_open: whether something that it started still held its output open, and was not waited for.
    """

    status: int
    signal: str | None = None
    output_held_open: bool = False


@dataclass(frozen=True)
class Captured:
    """What a command said, and its exit status.

    cut: whether it said more than was wanted: the rest is not read, the command is ended, and its status is not known.
    """

    status: int | None
    stdout: str
    stderr: str
    cut: bool = False


class _Enough(Exception):
    """A command has said more than is wanted of it."""


class KeysNotAccepted(AuthFailed):
    """The server lets nobody in with a key, whichever it is."""


class SshSession:
    """A verified, authenticated connection. A context manager."""

    def __init__(self, client: paramiko.SSHClient, silence_s: float = _SILENCE_S) -> None:
        self._client, self._silence_s = client, silence_s
        self._silence: _Silence | None = None
        self._signals: dict[int, str] = {}
        transport = client.get_transport()
        if transport is not None:
            _keep_alive(transport, min(_KEEPALIVE_S, silence_s / 4))
            _hear_signals(transport, self._signals)

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        *,
        alias: str,
        credentials: Credentials,
        known_hosts: Path,
        deadline: Deadline | None = None,
        silence_s: float = _SILENCE_S,
    ) -> Self:
        """Connect and log in, to a server that has a key pinned under `alias` in `known_hosts`, and to no other.

        deadline: it takes a minute at the most in any case. silence_s: how long it may say nothing while a command runs.
        Raises: `ssh::failed` (retryable), `ssh::host_key_mismatch`, `ssh::auth_failed`, `ssh::no_key`;
        `vmctl::interrupted`.
        """
        keys, deadline = _usable(credentials), _for_login(deadline)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            with os_errors(known_hosts), suppress(FileNotFoundError):
                client.load_host_keys(str(known_hosts))
            connection = socket.create_connection((endpoint.host, endpoint.port), _CONNECT_TIMEOUT_S)
            if alias not in client.get_host_keys():
                raise HostKeyMismatch("no SSH host key is pinned for the guest")
            wary = WarySocket(connection)
            with ended_at(deadline, connection):
                _login(client, wary, alias, credentials, keys)
            wary.trust()
        except BaseException as error:
            client.close()
            deadline.cancel.raise_if_cancelled()
            if isinstance(error, paramiko.BadHostKeyException):
                raise HostKeyMismatch(
                    "the guest at {endpoint} has a different SSH host key than the pinned one",
                    {"endpoint": str(endpoint), "host": endpoint.host, "port": endpoint.port},
                    help=_repin(alias, error.key, known_hosts),
                ) from error
            if isinstance(error, paramiko.BadAuthenticationType) and "publickey" not in error.allowed_types:
                raise KeysNotAccepted(
                    "the guest's SSH server does not accept keys",
                    help=("set `PubkeyAuthentication yes` in the guest's sshd_config: vmctl logs in with keys only",),
                ) from None
            if isinstance(error, paramiko.AuthenticationException):
                # Its text says nothing more.
                raise AuthFailed("the guest rejected the key of user '{user}'", {"user": credentials.user}) from None
            if isinstance(error, (paramiko.SSHException, OSError, EOFError)):
                raise SshFailed("could not open an SSH session", retryable=True) from error
            raise
        return cls(client, silence_s)

    @property
    def silent_s(self) -> float:
        """How long the server has said nothing while a command runs, not even that it lives; it is asked every 15 s."""
        return self._silence.silent_s if self._silence else 0.0

    @property
    def silence_limit_s(self) -> float:
        """How long it may, until the connection counts as lost."""
        return self._silence_s

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def run(
        self,
        command: str,
        output: Output,
        deadline: Deadline,
        tick: Callable[[], None] = lambda: None,
        input: Iterable[bytes] = (),
    ) -> CommandResult:
        """Run a command line in the guest; its output is handed over as it arrives, with whole characters only.

        input: what it reads, and then the end; a command that ends before it has read all of it is given no more.
        tick: called several times a second, and may raise to end the wait.
        Returns when the command has ended and its output has, too, or has been quiet for a second: what it left running in
        the background is not waited for.
        Whatever else ends the wait, such as Ctrl-C, also ends the command, as far as the server lets us.
        Raises: `ssh::failed` when the connection is lost, which is no end of the command; `TimeoutError` at the deadline.
        """
        with _lost_connections():
            channel = self._open_channel()
            channel.exec_command(command)
        self._silence = _Silence(_wary(channel), self._silence_s)
        conversation = _Conversation(channel, output, deadline, tick, self._silence)
        try:
            conversation.feed(input)
            output_held_open = conversation.until_end()
            return self._ended(channel, output_held_open)
        except BaseException:
            _terminate(channel)
            raise
        finally:
            self._silence = None
            with suppress(paramiko.SSHException, OSError, EOFError):
                channel.close()

    def capture(
        self,
        command: str,
        deadline: Deadline,
        tick: Callable[[], None] = lambda: None,
        input: Iterable[bytes] = (),
        *,
        most_chars: int = _CAPTURED_CHARS,
    ) -> Captured:
        """Run a command line that has little to say.

        most_chars: of both outputs together; a command that says more is ended. Raises: see `run`.
        """
        heard: dict[Stream, list[str]] = {Stream.STDOUT: [], Stream.STDERR: []}
        left = most_chars

        def hear(stream: Stream, text: str) -> None:
            nonlocal left
            heard[stream].append(text[:left])
            left -= len(text)
            if left < 0:
                raise _Enough

        try:
            status, cut = self.run(command, hear, deadline, tick, input).status, False
        except _Enough:
            status, cut = None, True
        return Captured(status, "".join(heard[Stream.STDOUT]), "".join(heard[Stream.STDERR]), cut)

    def _ended(self, channel: paramiko.Channel, output_held_open: bool) -> CommandResult:
        name = self._signals.pop(channel.get_id(), None)
        if name is not None:
            return CommandResult(128 + _SIGNAL_NUMBERS.get(name, 0), f"SIG{name}", output_held_open)
        if channel.exit_status == -1:
            raise SshFailed("the SSH connection was lost", retryable=True)
        return CommandResult(channel.exit_status, None, output_held_open)

    def _open_channel(self) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None:
            raise EOFError
        return transport.open_session(timeout=_CONNECT_TIMEOUT_S)


def _repin(alias: str, key: paramiko.PKey, known_hosts: Path) -> tuple[str, ...]:
    pinned = shlex.quote(f"{alias} {key.get_name()} {key.get_base64()}")
    return (
        f"see at its console whether the guest has made itself a new key: `vmctl console {alias}`",
        f"if it has, and only then, pin that: `echo {pinned} >{shlex.quote(str(known_hosts))}`",
    )


def offered_host_key(endpoint: Endpoint, deadline: Deadline | None = None) -> str:
    """The host key that the server at an endpoint shows, as `type base64`.

    deadline: it takes a minute at the most in any case. Raises: `ssh::failed`, `vmctl::interrupted`.
    """
    deadline = _for_login(deadline)
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), _CONNECT_TIMEOUT_S)
        with (
            connection,
            ended_at(deadline, connection),
            paramiko.Transport(WarySocket(connection)) as transport,  # type: ignore[arg-type]
        ):
            transport.start_client(timeout=_CONNECT_TIMEOUT_S)
            key = transport.get_remote_server_key()
    except (paramiko.SSHException, OSError, EOFError) as error:
        deadline.cancel.raise_if_cancelled()
        raise SshFailed("the guest presented no SSH host key", retryable=True) from error
    return f"{key.get_name()} {key.get_base64()}"


def _for_login(deadline: Deadline | None) -> Deadline:
    return Deadline(_LOGIN_S) if deadline is None else Deadline(deadline.within(_LOGIN_S), deadline.cancel)


@contextmanager
def _lost_connections() -> Iterator[None]:
    """Translate what paramiko raises when the connection is gone; around its calls only, not around ours."""
    try:
        yield
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise SshFailed("the SSH connection was lost", retryable=True) from error


def _keep_alive(transport: paramiko.Transport, every_s: float) -> None:
    """Ask the server now and then for something that it does not know: unlike paramiko's, the request wants an answer."""
    message = paramiko.Message()
    message.add_byte(cMSG_GLOBAL_REQUEST)
    message.add_string("keepalive@openssh.com")
    message.add_boolean(True)
    transport.packetizer.set_keepalive(every_s, lambda: transport._send_user_message(message))  # type: ignore[attr-defined]


class _Silence:
    """Notes how long a server has said nothing. Time in which nobody looked, as behind Ctrl-Z, does not count."""

    def __init__(self, connection: WarySocket, limit_s: float) -> None:
        self._connection, self._limit_s = connection, limit_s
        self._heard_bytes, self.silent_s, self._looked = connection.heard_bytes, 0.0, time.monotonic()

    def look(self) -> None:
        """To be called several times a second. Raises: `ssh::failed`."""
        now = time.monotonic()
        self.silent_s += min(now - self._looked, 1.0)
        self._looked = now
        if self._connection.heard_bytes != self._heard_bytes:
            self._heard_bytes, self.silent_s = self._connection.heard_bytes, 0.0
        if self.silent_s > self._limit_s:
            silent = round(self._limit_s)
            raise SshFailed(
                "the guest's SSH server has said nothing for {seconds} s", {"seconds": silent}, retryable=True
            )


def _wary(channel: paramiko.Channel) -> WarySocket:
    connection = channel.get_transport().sock
    assert isinstance(connection, WarySocket)
    return connection


def _terminate(channel: paramiko.Channel) -> None:
    """Send SIGTERM to the command (RFC 4254, section 6.9): OpenSSH to all of its process group, Dropbear to it alone.

    OpenSSH does nothing for root, as it has no process of less rights then that could.
    """
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string("TERM")
    transport = channel.get_transport()
    with suppress(paramiko.SSHException, OSError, EOFError):
        transport._send_user_message(message)  # type: ignore[attr-defined]


def _hear_signals(transport: paramiko.Transport, signals: dict[int, str]) -> None:
    """Note by channel which signal ended its command; paramiko passes over `exit-signal` (RFC 4254, section 6.10)."""
    table = dict(transport._channel_handler_table)  # type: ignore[attr-defined]
    usual = table[MSG_CHANNEL_REQUEST]

    def request(channel: paramiko.Channel, message: paramiko.Message) -> None:
        if message.get_text() == "exit-signal":
            message.get_boolean()
            name = re.sub("[^A-Z0-9]", "", message.get_text())[:10]
            signals[channel.get_id()] = name or "UNKNOWN"
            # The channel itself may stay open for as long as something holds the command's output.
            channel.status_event.set()
            return
        message.rewind()
        message.get_int()  # the channel's number, which the caller has read
        usual(channel, message)

    transport._channel_handler_table = {**table, MSG_CHANNEL_REQUEST: request}  # type: ignore[attr-defined]


# The names that RFC 4254 gives, with Linux's numbers.
_SIGNAL_NUMBERS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12,
    "PIPE": 13, "ALRM": 14, "TERM": 15,
}  # fmt: skip


class _Bell:
    """Rung by paramiko when something has come, or no more will.

    `select` on a channel would make paramiko write to a pipe that `close` may have closed meanwhile, and its number may be
    another file's by then (its issues 1700 and 2271).
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._rung = threading.Event()
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(self)  # type: ignore[arg-type]

    def set(self) -> None:
        """Called by paramiko's thread."""
        self._rung.set()

    def clear(self) -> None:
        """Called by paramiko when one of the buffers is empty, which says nothing of the other."""

    def wait(self, seconds: float) -> None:
        """Until it is rung, or has been since the last wait."""
        self._rung.wait(seconds)
        self._rung.clear()


class _Conversation:
    """Talks to a running command: gives it its input and reads both outputs as they come."""

    def __init__(
        self, channel: paramiko.Channel, output: Output, deadline: Deadline, tick: Callable[[], None], silence: _Silence
    ) -> None:
        self._channel, self._output, self._deadline, self._tick = channel, output, deadline, tick
        # A character may arrive in two halves.
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {Stream.STDOUT: decoder("replace"), Stream.STDERR: decoder("replace")}
        self._heard_bytes = 0
        # paramiko does not hold a server to the window that it was given; and whoever takes what we read may be slow.
        _wary(channel).watch(self._unread)
        self._silence, self._bell = silence, _Bell(channel)

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send all of the input and its end, as long as the command wants it."""
        channel = self._channel
        channel.settimeout(_POLL_S)
        attended = time.monotonic()
        for chunk in chunks:
            rest = chunk
            while rest:
                sent = self._send(rest)
                if sent is None:
                    return
                rest = rest[sent:]
                if time.monotonic() - attended > _POLL_S:
                    self._attend()
                    attended = time.monotonic()
        with suppress(paramiko.SSHException, OSError, EOFError):
            channel.shutdown_write()

    def _send(self, data: bytes) -> int | None:
        """How many bytes were taken; None when the command, or the connection, has ended."""
        if self._channel.exit_status_ready():
            return None
        try:
            return self._channel.send(data)
        except TimeoutError:
            return 0
        except (paramiko.SSHException, OSError, EOFError):
            return None

    def until_end(self) -> bool:
        """Return when the command has ended; whether something that it left behind holds its output open."""
        channel = self._channel
        while not channel.exit_status_ready():
            self._listen()
            self._attend()
        limit, quiet = (Deadline(seconds, self._deadline.cancel) for seconds in (_LINGER_S, _QUIET_S))
        heard = self._heard_bytes
        while not (channel.eof_received or channel.closed or limit.expired or quiet.expired):
            before = self._heard_bytes
            self._listen()
            if self._heard_bytes > before:
                quiet = Deadline(_QUIET_S, self._deadline.cancel)
            if self._heard_bytes - heard > _UNDER_WAY_BYTES:
                break
        self._drain()
        for stream, decoder in self._decoders.items():
            if text := decoder.decode(b"", final=True):
                self._output(stream, text)
        return not (channel.eof_received or channel.closed)

    def _attend(self) -> None:
        """Read what has come, and see whether to go on."""
        self._drain()
        self._tick()
        self._silence.look()
        if self._deadline.expired:
            raise TimeoutError("the command timed out")

    def _listen(self) -> None:
        if self._channel.eof_received:
            # The exit status is all that is still to come.
            self._channel.status_event.wait(_POLL_S)
        elif not self._unread():
            self._bell.wait(_POLL_S)
        self._drain()

    def _drain(self) -> None:
        # Not for ever: a flood must not keep the caller from looking at its deadline.
        ends = self._heard_bytes + _UNDER_WAY_BYTES
        while self._channel.recv_ready() and self._heard_bytes < ends:
            self._require_window()
            with _lost_connections():
                data = self._channel.recv(_CHUNK)
            self._say(Stream.STDOUT, data)
        while self._channel.recv_stderr_ready() and self._heard_bytes < ends:
            self._require_window()
            with _lost_connections():
                data = self._channel.recv_stderr(_CHUNK)
            self._say(Stream.STDERR, data)

    def _unread(self) -> int:
        return len(self._channel.in_buffer) + len(self._channel.in_stderr_buffer)

    def _require_window(self) -> None:
        """Raises: `ssh::failed` for a server that sends without being asked for more, faster than it is read."""
        unread = self._unread()
        if unread > UNREAD_BYTES:
            raise SshFailed("the guest's SSH server sent {bytes} bytes too many", {"bytes": unread})

    def _say(self, stream: Stream, data: bytes) -> None:
        self._heard_bytes += len(data)
        text = self._decoders[stream].decode(data)
        if text:
            self._output(stream, text)


def _login(
    client: paramiko.SSHClient, connection: WarySocket, alias: str, credentials: Credentials, keys: list[str]
) -> None:
    # paramiko takes a list of files here, and whatever is used like a socket, although its type stubs know neither.
    client.connect(
        alias,
        sock=connection,  # type: ignore[arg-type]
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
        except (paramiko.PasswordRequiredException, TypeError):
            # cryptography says the same of OpenSSH's own format with a TypeError.
            locked.append(str(path))
        except (paramiko.SSHException, OSError, ValueError) as error:
            _log.info("key %s cannot be used: %s", path, error)
    if usable or credentials.agent:
        return usable
    if locked:
        raise NoKey(
            "the private key {path} has a passphrase",
            {"path": locked[0]},
            help=(f"use {without_passphrase(locked[0])}",),
        )
    raise NoKey("no private key to log in with")
