"""QEMU's sockets with somebody else behind them: a guest's agent, or a QEMU that a guest has taken over."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: What a peer does with a connection.
Behaviour = Callable[[socket.socket], None]
_GREETING = {"QMP": {"version": {"qemu": {"major": 8, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}}
_AGENT = [{"label": "agent", "frontend-open": True, "filename": "unix"}]


@contextmanager
def behind(path: Path, behave: Behaviour) -> Iterator[None]:
    """A peer at a UNIX socket, for one connection after the other."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(30)
                with connection, suppress(OSError, ValueError):
                    behave(connection)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(40)


def monitor(answer: Callable[[str], object]) -> Behaviour:
    """A monitor that greets and negotiates.

    answer: what it says to a command: bytes: the whole line; None: what QEMU would; else what it returns.
    """

    def behave(connection: socket.socket) -> None:
        connection.sendall(json.dumps(_GREETING).encode() + b"\r\n")
        for asked in _commands(connection):
            said = answer(asked["execute"])
            if said is None:
                said = _AGENT if asked["execute"] == "query-chardev" else {}
            if not isinstance(said, bytes):
                said = json.dumps({"return": said, "id": asked.get("id")}).encode()
            connection.sendall(said + b"\r\n")

    return behave


def _commands(connection: socket.socket) -> Iterator[dict[str, str]]:
    """What comes, with or without ends of lines between."""
    text = ""
    while data := connection.recv(65_536):
        text = (text + data.decode()).lstrip()
        with suppress(json.JSONDecodeError):
            asked, end = json.JSONDecoder().raw_decode(text)
            text = text[end:]
            yield asked


def endless(piece: bytes) -> Behaviour:
    """Sends that again and again."""

    def behave(connection: socket.socket) -> None:
        data = piece * max(1, 65_536 // len(piece))
        while True:
            connection.sendall(data)

    return behave
