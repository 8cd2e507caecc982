"""Servers on loopback: one that does what goes wrong, as the URL asks it to, and nginx."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Server:
    """Answers every path with the image; the query says what is to go wrong.

    status=N: refuses; times=N: only the first N requests go wrong. to=URL: redirects there; hop=0: again and again.
    drop=N: breaks off after each N bytes. stall=N: stops after N bytes and holds the connection.
    length=TEXT: says this is the length. encoding=NAME: says this is the encoding. no-range: knows no ranges.
    no-validator: says nothing to recognise the file by. change: another file, and another ETag, at every request;
    stubborn: sends the range of it whatever If-Range says. page: a web page. garbage: no disk.
    asked: the paths, with queries; heads: the headers of each request.
    """

    def __init__(self, image: bytes) -> None:
        self.image, self.files = image, dict[str, bytes]()
        self.asked, self.heads, self.ended = list[str](), list[dict[str, str]](), threading.Event()
        self._changes = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.heads.append({name.lower(): value for name, value in self.headers.items()})
                try:
                    _Answer(server, self).send()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def next_change(self) -> int:
        """A number that is another one each time."""
        self._changes += 1
        return self._changes

    def close(self) -> None:
        """End it, and whatever still waits."""
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Answer:
    """The answer to one request."""

    def __init__(self, server: Server, request: BaseHTTPRequestHandler) -> None:
        self._server, self._request = server, request
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if len([path for path in server.asked if path == request.path]) > int(query.get("times", "1000000")):
            query = {}
        self._asked = query
        self._content = server.files.get(parts.path, server.image)
        self._etag = '"one"'
        if "page" in query:
            self._content = b"<!DOCTYPE html>\n<html><body>" + b"please log in " * 100 + b"</body></html>"
        if "garbage" in query:
            self._content = b"QFI\xfb" + b"\xff" * 600
        if "change" in query:
            change = server.next_change()
            self._etag = f'"{change}"'
            self._content = bytes([change]) * len(self._content)

    def send(self) -> None:
        request, asked = self._request, self._asked
        if "status" in asked:
            request.send_error(int(asked["status"]))
            return
        if "hop" in asked:
            asked["to"] = f"/image?hop={int(asked['hop']) + 1}"
        if "to" in asked:
            request.send_response(302)
            request.send_header("Location", asked["to"])
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self._send_body(self._begin())

    def _begin(self) -> bytes:
        """Send the head; the body that is to follow."""
        request, asked, content = self._request, self._asked, self._content
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range")
        whole = "no-range" in asked or not found or (condition not in (None, self._etag) and "stubborn" not in asked)
        if not whole and found:
            start = int(found[1])
            request.send_response(206 if start < len(content) else 416)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:]
        else:
            request.send_response(200)
            body = content
        if "no-validator" not in asked:
            request.send_header("ETag", self._etag)
        if "encoding" in asked:
            request.send_header("Content-Encoding", asked["encoding"])
        if asked.get("length") != "none":
            request.send_header("Content-Length", asked.get("length", str(len(body))))
        request.end_headers()
        return body

    def _send_body(self, body: bytes) -> None:
        asked, to = self._asked, self._request.wfile
        end = int(asked.get("drop", asked.get("stall", len(body))))
        to.write(body[:end])
        to.flush()
        if "stall" in asked:
            self._server.ended.wait(120)
        if end < len(body):
            # With a reset, not with an orderly end.
            self._request.close_connection = True


@contextmanager
def nginx(root: Path, run: Path, *options: str, tls: str = "") -> Iterator[str]:
    """nginx as any user, with a configuration of its own; yields its URL.

    options: directives of the location. tls: the directives that make it serve https.
    """
    run.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = "\n".join(
        f"{name}_temp_path {run}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = run / "nginx.conf"
    config.write_text(
        f"daemon off; pid {run}/pid; error_log {run}/error.log; worker_processes 1; {_user()}\n"
        "events { worker_connections 64; }\n"
        f"http {{ access_log off; sendfile on; {places}\n"
        f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; {tls}\n"
        f"location / {{ root {root}; {' '.join(options)} }} }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", f"{run}/error.log"], stderr=subprocess.DEVNULL)
    try:
        _wait_for_port(port, process)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _user() -> str:
    """As root, nginx would change to a user who may not read the tests' directories."""
    return "user root;" if Path("/proc/self").stat().st_uid == 0 else ""


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 60
    while True:
        assert process.poll() is None, "nginx has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < ends, "nginx does not answer"
            time.sleep(0.05)


@contextmanager
def serving(image: bytes) -> Iterator[Server]:
    """A `Server` for the length of a block."""
    server = Server(image)
    try:
        yield server
    finally:
        server.close()
