"""QEMU's machine protocol, QMP, in blocking calls: the one place of vmctl that runs asyncio.

A stopped or busy QEMU, and a second client on a taken socket, would hang for ever: every wait here has a limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, Message, QMPClient, QMPError
from qemu.qmp.error import ProtocolError

from vm_manager.backends.qemu.answers import run_state
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.sockets import QMP_SOCKET, socket_path
from vm_manager.backends.qemu.standstill import silent, standstill
from vm_manager.diagnostics.errors import QmpCommandFailed, QmpConnectFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.bounded_json import Unreadable, require_bounded

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_CONNECT_TIMEOUT_S = 15.0
_COMMAND_TIMEOUT_S = 15.0
_LISTENS_POLL_S = 0.05
# QEMU is what a guest has in its hands if it breaks out of it.
_MESSAGE_BYTES = 4 * 1024**2
# Of those that are waited for, the longest have some hundred bytes.
_EVENT_BYTES = 64 * 1024
_WAITING_EVENTS = 256

#: How long to wait for an event before QEMU is asked itself: one that got lost would be waited for in vain.
LOOK_EVERY_S = 0.2

#: Waits for an event up to so many seconds; None when there was none.
NextEvent = Callable[[float], Mapping[str, object] | None]


class Monitor:
    """A QMP connection to the QEMU in `home`, as a context manager; for the holder of the VM's lock only.

    connect_timeout_s: how long to wait for its greeting.
    """

    def __init__(self, home: Path, *, connect_timeout_s: float = _CONNECT_TIMEOUT_S) -> None:
        self._home, self._connect_timeout_s = home, connect_timeout_s

    def __enter__(self) -> Self:
        """Connect, also to a QEMU that has just been started and does not listen yet. Raises: `qemu::qmp_connect_failed`."""
        self._runner = asyncio.Runner()
        try:
            self._client = self._run(self._connected(), self._connect_timeout_s)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            self._runner.close()
            raise silent(self._home, self._connect_timeout_s) from _told(error)
        except BaseException:
            self._runner.close()
            raise
        return self

    async def _connected(self) -> _Client:
        ends = time.monotonic() + self._connect_timeout_s - 2 * _LISTENS_POLL_S
        while True:
            client = _Client()
            try:
                with socket_path(self._home, QMP_SOCKET) as path:
                    await client.connect(path)
                return client
            except QMPError as error:
                # Whoever started it may have been killed before it listened.
                if not _is_too_early(error) or time.monotonic() > ends or lock_owner(QemuFiles(self._home).pid) is None:
                    raise
            await asyncio.sleep(_LISTENS_POLL_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect; never hides the failure that ended the block."""
        try:
            self._run(self._client.disconnect(), _COMMAND_TIMEOUT_S)
        except (QMPError, OSError, EOFError, TimeoutError) as lost:
            # QEMU's death shows here again; whoever waits for it sees it by its process.
            _log.debug("disconnecting: %r", lost)
        finally:
            self._runner.close()

    def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """Run a QMP command and return its result.

        Raises: `qemu::qmp_command_failed`, with QEMU's answer as evidence; `qemu::qmp_connect_failed` when QEMU ends or
        falls silent.
        """
        try:
            return self._run(self._client.execute(command, arguments), _COMMAND_TIMEOUT_S)
        except ExecuteError as error:
            raise QmpCommandFailed(
                "QEMU refused `{command}`",
                {"command": command},
                evidence=(Evidence("qmp", "QEMU's answer", (str(error),)),),
            ) from error
        except (ExecInterruptedError, QMPError, OSError, EOFError, TimeoutError) as error:
            raise self._fell_silent(command) from _told(error)

    def run_state(self) -> str:
        """QEMU's RunState, for example running, paused, guest-panicked. Raises: as `execute`."""
        return run_state(self.execute("query-status"))

    def send_descriptor(self, name: str, descriptor: int) -> None:
        """Give QEMU an open file, under a name that its commands understand as `fd:name`. Source: `getfd` in QEMU's QAPI.

        Raises: `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
        """
        try:
            self._client.send_fd_scm(descriptor)
        except (QMPError, OSError) as error:
            raise self._fell_silent("getfd") from _told(error)
        self.execute("getfd", {"fdname": name})

    @contextmanager
    def listening(self, *names: str) -> Iterator[NextEvent]:
        """Hear events of these names from now on; what is yielded waits for the next one, up to so many seconds.

        QEMU's end is no event: whoever waits must look at the process, too.
        """
        listener = _Listener(names)
        with self._client.listen(listener):

            def next_event(timeout_s: float) -> Mapping[str, object] | None:
                try:
                    return self._run(listener.get(), timeout_s)
                except TimeoutError:
                    return None

            yield next_event

    def _fell_silent(self, command: str) -> QmpConnectFailed:
        if held := standstill(self._home):
            return held.error()
        return QmpConnectFailed("QEMU's monitor stopped responding during `{command}`", {"command": command})

    def _run(self, awaitable: Coroutine[object, object, _T], timeout_s: float) -> _T:
        async def limited() -> _T:
            return await asyncio.wait_for(awaitable, timeout_s)

        return self._runner.run(limited())


class _Client(QMPClient):
    """QEMU's client, with a limit for what QEMU says."""

    def __init__(self) -> None:
        super().__init__("vmctl", readbuflen=_MESSAGE_BYTES)
        # The library keeps every event here for somebody to ask for it some day.
        self.events.event_filter = lambda event: False
        self.logger = logging.getLogger("qemu.qmp")
        self._negotiating = False

    async def _negotiate(self) -> None:
        # An event may come before the answer, which the library takes for that.
        self._negotiating = True
        await super()._negotiate()
        self._negotiating = False

    async def _do_recv(self) -> Message:
        message = await self._receive()
        while self._negotiating and "event" in message:
            message = await self._receive()
        return message

    async def _receive(self) -> Message:
        try:
            line = await self._readline()
            require_bounded(line, most_bytes=_MESSAGE_BYTES)
            message = Message(line, eager=True)
            if "event" in message and len(line) > _EVENT_BYTES:
                raise Unreadable(f"an event of more than {_EVENT_BYTES} bytes")
            return message
        except (Unreadable, ValueError, RecursionError) as error:
            raise ProtocolError(f"QEMU's monitor sent no message: {error}") from error


class _Listener(EventListener):
    """Hears events of some names; of a flood the beginning."""

    async def put(self, event: Message) -> None:
        if self._queue.qsize() < _WAITING_EVENTS:
            await super().put(event)
            self._history.clear()


def _told(error: Exception) -> Exception | None:
    """A cause that says more than that the time was up."""
    return None if isinstance(error, TimeoutError) else error


def _is_too_early(error: BaseException | None) -> bool:
    """Whether the socket is not there, or is there but nobody listens on it: between QEMU's bind(2) and its listen(2)."""
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
            return True
        error = error.__cause__ or error.__context__
    return False
