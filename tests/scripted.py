"""HTTP servers that say what a test tells them to, on loopback, plain and over TLS."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """A request. host: as its Host header says; path: without the query; form: what was posted."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Say:
    """An answer. stop_at: the connection is broken off after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stop_at: int | None = None

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> Say:
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


Answers = Callable[[Asked], Say]


def _handler(answers: Answers, asked: list[Asked]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            posted = self.rfile.read(int(headers.get("content-length", "0"))).decode()
            one = Asked(self.command, headers.get("host", ""), parts.path, _flat(parts.query), headers, _flat(posted))
            asked.append(one)
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                self._say(answers(one))

        do_POST = do_GET

        def _say(self, say: Say) -> None:
            self.send_response(say.status)
            for name, value in {"Content-Length": str(len(say.body)), **say.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(say.body[: say.stop_at])
            if say.stop_at is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


@dataclass(frozen=True)
class Scripted:
    """A server that runs. host: with its port. asked: all requests so far."""

    host: str
    asked: list[Asked]

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


@contextmanager
def scripted(answers: Answers) -> Iterator[Scripted]:
    """A server over plain HTTP."""
    asked: list[Asked] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(answers, asked)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Scripted(f"127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Internet:
    """A proxy behind which all hosts are, each with a certificate of `authority`. asked: what they were asked over TLS."""

    proxy: str
    authority: Path
    asked: list[Asked]


@contextmanager
def internet(home: Path, answers: Answers, *names: str) -> Iterator[Internet]:
    """Hosts of these names, over https, by way of a proxy on loopback: what is not on this host, on this host."""
    context, authority = _identity(home, names)
    asked: list[Asked] = []
    handler = _handler(answers, asked)
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (piece := connection.recv(1)):
                head += piece
            host = head.split(b" ")[1].rpartition(b":")[0].decode()
            if host not in names:
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with context.wrap_socket(connection, server_side=True) as secure:
                handler(secure, ("127.0.0.1", 0), None)  # type: ignore[arg-type]

    def accept(listener: socket.socket) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(60)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield Internet(f"http://127.0.0.1:{listener.getsockname()[1]}", authority, asked)
        finally:
            ended.set()
            thread.join()


def certificate_of(key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName]) -> x509.Certificate:
    """A certificate for these names that vouches for itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vmctl's tests")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _identity(home: Path, names: tuple[str, ...]) -> tuple[ssl.SSLContext, Path]:
    """What a server with these names needs, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificate_of(key, [x509.DNSName(name) for name in names])
    authority, private = home / "authority.pem", home / "key.pem"
    home.mkdir(parents=True, exist_ok=True)
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return context, authority
