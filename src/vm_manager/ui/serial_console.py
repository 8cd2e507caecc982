"""A guest's serial console on our standard input and output.

What the guest writes goes out as it is: this is its terminal. Two things never happen, whatever our terminal does: the
guest is never kept waiting for us to read, because that would stall its boot; and the terminal is never left raw.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType, TracebackType
from typing import Any, Self

from vm_manager.ui.output_queue import OutputQueue

_LEAVE = b"\x1d"  # Ctrl+], as in telnet(1)
_CHUNK = 64 * 1024
_BATCH_S = 0.001
# After the end of input that is no terminal: how long the guest must say nothing.
_QUIET_S = 2.0
# How long what was typed before the end may take to be sent, and what came from the guest to be shown.
_LAST_S = 2.0
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
# What a guest may have switched on and a shell would not expect: attributes, character set, hidden cursor, alternate
# screen, application keys, reports of the mouse and of the focus, bracketed paste. Source: xterm's ctlseqs.
_SANE = b"\x0f\x1b(B\x1b[0m\x1b[?25h\x1b[?47l\x1b[?1l\x1b>\x1b[?9;1000;1002;1003;1004;1005;1006;1015l\x1b[?2004l\r\n"


class End(StrEnum):
    """Why a console ended: the user left it, the machine is gone, or the input was all given and answered."""

    LEFT = "left"
    CLOSED = "closed"
    ANSWERED = "answered"


@dataclass(frozen=True)
class Detached:
    """How a console was left. dropped_bytes: what standard output was too slow for."""

    end: End
    dropped_bytes: int


def attach(connect: Callable[[], socket.socket], stdin: int = 0, stdout: int = 1) -> Detached:
    """Stay connected to the console until it ends.

    connect: makes a connection; called again after the process had been stopped, when the console had been left.
    stdin: when it is a terminal it becomes raw, and Ctrl+] leaves; anything else is given to the guest byte by byte, and at
    its end the console goes on until the guest has been quiet for two seconds.
    stdout: a slow one loses the oldest of what it cannot take: 8 MiB are kept for it.
    Raises: `KeyboardInterrupt` for SIGINT, SIGTERM and SIGHUP, `OSError` of the standard output, and what `connect` raises.
    """
    with _Signals() as signals, OutputQueue(stdout, _LAST_S) as output:
        session = _Session(stdin, output, signals)
        terminal = _RawTerminal(stdin, output)
        while True:
            _await_foreground(stdin, signals)
            with connect() as connection, terminal.raw():
                end = session.run(connection)
            signals.raise_if_ending()
            if end is not None:
                return Detached(end, output.dropped_bytes)
            signals.stop()


class _Session:
    """Carries bytes in both directions. What has not been given to the guest yet survives a stop."""

    def __init__(self, stdin: int, output: OutputQueue, signals: _Signals) -> None:
        self._stdin, self._output, self._signals = stdin, output, signals
        self._interactive = os.isatty(stdin)
        self._unsent = bytearray()
        self._input_over: End | None = None
        self._over_since_s = self._active_s = time.monotonic()

    def run(self, connection: socket.socket) -> End | None:
        """Until the console ends, or None when a signal arrived; the connection is closed then."""
        # Not epoll, which refuses files as standard input.
        with connection, selectors.PollSelector() as selector:
            selector.register(self._signals.descriptor, selectors.EVENT_READ)
            selector.register(self._output.failed, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            while True:
                self._watch_what_can_go_on(selector, connection)
                ready = {key.fd for key, _ in selector.select(0.1 if self._input_over else None)}
                if self._signals.descriptor in ready and self._signals.noticed():
                    return None
                if self._output.failed in ready:
                    self._output.raise_failure()
                # The guest first: what it says is always taken.
                if not self._receive(connection) or not self._send(connection):
                    return End.CLOSED
                if self._stdin in ready:
                    self._read()
                if self._input_over is not None and self._is_over(self._input_over):
                    return self._input_over

    def _watch_what_can_go_on(self, selector: selectors.PollSelector, connection: socket.socket) -> None:
        writing = selectors.EVENT_WRITE if self._unsent else 0
        selector.modify(connection, selectors.EVENT_READ | writing)
        # Back pressure: a guest that reads slowly is given its input slowly.
        wanted, watched = self._input_over is None and len(self._unsent) < _CHUNK, self._stdin in selector.get_map()
        if wanted and not watched:
            selector.register(self._stdin, selectors.EVENT_READ)
        elif watched and not wanted:
            selector.unregister(self._stdin)

    def _receive(self, connection: socket.socket) -> bool:
        try:
            data = connection.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            self._active_s = time.monotonic()
            self._output.put(data)
            # QEMU sends byte by byte, and the socket takes some 300 of them: fetched one by one they would cost more than they
            # cost QEMU.
            time.sleep(_BATCH_S)
        return bool(data)

    def _send(self, connection: socket.socket) -> bool:
        try:
            while self._unsent:
                del self._unsent[: connection.send(self._unsent)]
                self._active_s = time.monotonic()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _read(self) -> None:
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal has been hung up
            data = b""
        leaving = False
        if self._interactive:
            data, escape, _ = data.partition(_LEAVE)
            leaving = bool(escape) or not data
        self._unsent += data
        if leaving or not data:
            self._input_over = End.LEFT if self._interactive else End.ANSWERED
            self._over_since_s = self._active_s = time.monotonic()

    def _is_over(self, end: End) -> bool:
        now_s = time.monotonic()
        if end is End.LEFT:
            return not self._unsent or now_s - self._over_since_s > _LAST_S
        return not self._unsent and now_s - self._active_s > _QUIET_S


class _RawTerminal:
    """Standard input as a raw terminal, where it is one."""

    def __init__(self, stdin: int, output: OutputQueue) -> None:
        self._stdin, self._output = stdin, output

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Raw inside the block, as before after it, however it ends."""
        if not os.isatty(self._stdin):
            yield
            return
        before = termios.tcgetattr(self._stdin)
        try:
            tty.setraw(self._stdin, termios.TCSANOW)
            yield
        finally:
            try:
                self._output.put_on_terminal(_SANE)
                self._output.drain(_LAST_S)
            finally:
                self._restore(before)

    def _restore(self, before: list[Any]) -> None:
        with suppress(termios.error):  # it has been hung up
            # Not TCSADRAIN: a terminal that takes no output would keep us here.
            termios.tcsetattr(self._stdin, termios.TCSANOW, before)
            # What was typed for the guest must not be run by a shell.
            termios.tcflush(self._stdin, termios.TCIFLUSH)


class _Signals:
    """Signals as bytes to wait for, so that none of them arrives in the middle of something."""

    def __enter__(self) -> Self:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._seen: set[int] = set()
        self._wakeup_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _note) for number in (*_ENDING, signal.SIGTSTP)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        try:
            if error is None:
                self.raise_if_ending()
        finally:
            self._receiver.close()
            self._sender.close()

    @property
    def descriptor(self) -> int:
        """Readable when signals have arrived."""
        return self._receiver.fileno()

    def noticed(self) -> bool:
        """Whether a signal that concerns us has arrived."""
        with suppress(BlockingIOError):
            while data := self._receiver.recv(256):
                self._seen.update(data)
        return bool(self._seen & {*_ENDING, signal.SIGTSTP})

    def raise_if_ending(self) -> None:
        """Raises: `KeyboardInterrupt` when the process shall end."""
        if self.noticed() and self._seen & _ENDING:
            raise KeyboardInterrupt

    def stop(self, number: signal.Signals = signal.SIGTSTP) -> None:
        """Stop the process as the signal does by default; returns when it goes on."""
        self._seen.discard(signal.SIGTSTP)
        handler = signal.signal(number, signal.SIG_DFL)
        # To this thread: the process stops here, not a moment later.
        signal.pthread_kill(threading.get_ident(), number)
        signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor has the number already."""


def _await_foreground(stdin: int, signals: _Signals) -> None:
    """A job in the background stops until it is brought to the front, as all that read the terminal do."""
    while _in_background(stdin):
        signals.raise_if_ending()
        signals.stop(signal.SIGTTIN)
        time.sleep(0.05)


def _in_background(stdin: int) -> bool:
    try:
        return os.tcgetpgrp(stdin) != os.getpgrp()
    except OSError:
        return False  # no terminal, or not the one that controls us
