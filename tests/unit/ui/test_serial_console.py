"""The console between a socket and a terminal: bytes as they are, no waiting, and a terminal that is sane afterwards."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_manager.ui.output_queue import OutputQueue
from vm_manager.ui.serial_console import End, attach


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a console, as a backend hands it out, and the guest's."""
    ours, guest = socket.socketpair()
    ours.setblocking(False)
    yield ours, guest
    ours.close()
    guest.close()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the side of who looks at it and types, and the program's."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_a_flood_of_100_mb_does_not_wait_for_a_terminal_that_shows_nothing(
    line: tuple[socket.socket, socket.socket], terminal: tuple[int, int]
) -> None:
    ours, guest = line
    chunk, count = b"x" * (1 << 20), 100

    def flood() -> None:
        for _ in range(count):
            guest.sendall(chunk)
        guest.close()

    flooding = threading.Thread(target=flood)
    flooding.start()
    left = attach(lambda: ours, *[terminal[1]] * 2)
    flooding.join(timeout=300)
    assert not flooding.is_alive()
    assert left.end is End.CLOSED
    assert left.dropped_bytes > 80 * len(chunk)
    # It is told where it happened, once the terminal takes something again.
    shown = b""
    while b" bytes]" not in shown:
        shown += os.read(terminal[0], 65536)


def test_input_waits_for_a_guest_that_is_slow_and_nothing_is_lost(
    line: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, guest = line
    given, out = tmp_path / "in", tmp_path / "out"
    content = os.urandom(1 << 20)
    given.write_bytes(content)
    taken = bytearray()

    def take_slowly() -> None:
        while len(taken) < len(content):
            taken.extend(guest.recv(30_000))
            time.sleep(0.002)
        guest.sendall(b"answer")

    slow = threading.Thread(target=take_slowly)
    slow.start()
    with given.open("rb") as stdin, out.open("wb") as stdout:
        left = attach(lambda: ours, stdin.fileno(), stdout.fileno())
    slow.join()
    assert bytes(taken) == content
    assert left.end is End.ANSWERED
    assert out.read_bytes() == b"answer"


def test_what_is_typed_before_the_key_that_leaves_is_sent_and_what_follows_it_reaches_nobody(
    line: tuple[socket.socket, socket.socket], terminal: tuple[int, int]
) -> None:
    (ours, guest), (master, slave) = line, terminal
    before = termios.tcgetattr(slave)
    tty.setraw(slave)
    os.write(master, b"sent\x1drm -rf /\n")
    termios.tcsetattr(slave, termios.TCSANOW, before)
    assert attach(lambda: ours, slave, slave).end is End.LEFT
    assert guest.recv(100) == b"sent"
    assert termios.tcgetattr(slave) == before
    os.set_blocking(slave, False)
    with pytest.raises(BlockingIOError):
        os.read(slave, 100)


def test_the_key_leaves_a_guest_that_takes_nothing_and_never_stops_talking(
    line: tuple[socket.socket, socket.socket], terminal: tuple[int, int]
) -> None:
    (ours, guest), (master, slave) = line, terminal
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def talk() -> None:
        try:
            while True:
                guest.sendall(b"x" * 100)
        except OSError:
            return

    def type_and_leave() -> None:
        rest = memoryview(b"y" * 60_000 + b"\x1d")
        while rest:
            rest = rest[os.write(master, rest[:2000]) :]

    before = termios.tcgetattr(slave)
    tty.setraw(slave)  # or the terminal itself would echo and wait for lines until we are there
    threads = [threading.Thread(target=work) for work in (talk, type_and_leave)]
    for thread in threads:
        thread.start()
    with open(os.devnull, "wb") as nowhere:
        assert attach(lambda: ours, slave, nowhere.fileno()).end is End.LEFT
    termios.tcsetattr(slave, termios.TCSANOW, before)
    guest.close()
    for thread in threads:
        thread.join()


def test_a_terminal_is_as_it_was_after_an_exception(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])

    class Broken(socket.socket):
        def recv(self, bufsize: int, flags: int = 0) -> bytes:
            raise AssertionError("a bug")

    ours, guest = socket.socketpair()
    guest.send(b"x")
    broken = Broken(fileno=ours.detach())
    with guest, pytest.raises(AssertionError):
        attach(lambda: broken, *[terminal[1]] * 2)
    assert termios.tcgetattr(terminal[1]) == before


def test_a_closed_output_ends_it(line: tuple[socket.socket, socket.socket]) -> None:
    ours, guest = line
    reader, writer = os.pipe()
    stdin, never = os.pipe()
    os.close(reader)
    guest.send(b"x")
    with pytest.raises(BrokenPipeError):
        attach(lambda: ours, stdin, writer)
    for descriptor in (writer, stdin, never):
        os.close(descriptor)


def test_nothing_is_kept_for_an_output_beyond_the_limit_and_the_newest_stays() -> None:
    reader, writer = os.pipe()
    with OutputQueue(writer, 0.1, limit_bytes=1000) as queue:
        for number in range(100_000):
            queue.put(b"%05d\n" % number)
        assert queue.dropped_bytes > 0
        received = b""
        while not received.endswith(b"99999\n"):
            received += os.read(reader, 65536)
        assert queue.drain(60)
    assert len(received) + queue.dropped_bytes == 600_000
    os.close(reader)
    os.close(writer)


def test_a_second_signal_while_it_ends_does_not_leave_the_terminal_raw(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    code = """
import socket
from vm_manager.ui.serial_console import attach
ours, guest = socket.socketpair()
ours.setblocking(False)
try:
    attach(lambda: ours)
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=terminal[1], stdout=terminal[1])
    while termios.tcgetattr(terminal[1])[3] & termios.ICANON:
        time.sleep(0.01)
    while child.poll() is None:
        child.terminate()
        time.sleep(0.0005)
    assert termios.tcgetattr(terminal[1]) == before
