"""Fetching images from a real server on this machine, well-behaved and otherwise."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import DownloadFailed, FormatDetectionFailed, Interrupted, IoFailed
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.cache import ImageCache
from vm_manager.images.download import Source, fetch
from vm_manager.images.http import Limits, redacted

_SECRET = "s3cret"


class _Server:
    """Answers `/image` with the image, and other paths with what goes wrong; counts what it was asked for."""

    def __init__(self, image: bytes) -> None:
        self.image, self.asked, self.ended = image, list[str](), threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, content = request.path.partition("?")[0], self.image
        if path in ("/404", "/410", "/403", "/500"):
            request.send_error(int(path[1:]))
            return
        if path == "/redirect":
            request.send_response(302)
            request.send_header("Location", "/image")
        elif path == "/circle":
            request.send_response(302)
            request.send_header("Location", "/circle")
        else:
            request.send_response(200)
        if path == "/garbage":
            content = b"QFI\xfb" + b"\xff" * 600
        if path == "/gzip":
            request.send_header("Content-Encoding", "gzip")
        length = {"/short": len(content) + 1000, "/strange": "many", "/negative": -1}.get(path, len(content))
        if path != "/endless":
            request.send_header("Content-Length", str(length))
        request.end_headers()
        if path == "/stall":
            request.wfile.write(content[:100])
            self.ended.wait(60)
            return
        request.wfile.write(content)

    def close(self) -> None:
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("image") / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
    return path.read_bytes()


@pytest.fixture
def server(image: bytes) -> Iterator[_Server]:
    server = _Server(image)
    yield server
    server.close()


_QUICK = Limits(connect_s=20, stall_s=60, pauses_s=(0.01, 0.01))


def _ignore(done: int, total: int | None) -> None:
    return


def _fetch(server: _Server, path: str, to: Path) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    fetch(Source(url=server.url + path), to, lambda done, total: told.append((done, total)), CancelToken(), _QUICK)
    return told


@pytest.mark.parametrize("path", ["/image", "/image?token=1", "/redirect", "/gzip"])
def test_a_file_arrives_as_it_was_sent(server: _Server, tmp_path: Path, path: str) -> None:
    told = _fetch(server, path, tmp_path / "image")
    assert (tmp_path / "image").read_bytes() == server.image
    assert told[-1] == (len(server.image), len(server.image))


def test_a_server_may_keep_the_size_to_itself(server: _Server, tmp_path: Path) -> None:
    assert _fetch(server, "/endless", tmp_path / "image")[-1] == (len(server.image), None)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/404", "check the URL"),
        ("/410", "check the URL"),
        ("/403", "check that the server lets you have it"),
        ("/500", "the fault is the server's: run the command again later"),
    ],
)
def test_a_refusal_is_quoted(server: _Server, tmp_path: Path, path: str, advice: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        _fetch(server, path, tmp_path / "image")
    diagnostic = caught.value.diagnostic
    assert diagnostic.exit_code == 9
    assert diagnostic.help == (advice,)
    assert diagnostic.evidence[0].lines[0].startswith(f"HTTP {path[1:]} ")


def test_a_file_that_ends_early_is_not_taken_for_whole(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        _fetch(server, "/short", tmp_path / "image")
    assert caught.value.diagnostic.retryable


@pytest.mark.parametrize("path", ["/strange", "/negative", "/circle"])
def test_a_server_that_talks_nonsense_is_a_failed_download(server: _Server, tmp_path: Path, path: str) -> None:
    with pytest.raises(DownloadFailed):
        _fetch(server, path, tmp_path / "image")


def _closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_server_that_is_not_there_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetch(Source(url=f"http://127.0.0.1:{_closed_port()}/x"), tmp_path / "image", _ignore, CancelToken(), _QUICK)
    assert caught.value.diagnostic.retryable
    assert caught.value.diagnostic.causes


def test_no_secret_of_the_url_is_in_the_causes(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{_closed_port()}/x?token={_SECRET}"
    with pytest.raises(DownloadFailed) as caught:
        fetch(Source(url=url), tmp_path / "image", _ignore, CancelToken(), _QUICK)
    assert _SECRET not in repr(caught.value.diagnostic)


def test_a_place_that_cannot_be_written_is_not_the_servers_fault(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(IoFailed):
        _fetch(server, "/image", tmp_path / "none" / "image")


def test_a_cancelled_download_ends(server: _Server, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Interrupted):
        fetch(Source(url=f"{server.url}/image"), tmp_path / "image", _ignore, cancel, _QUICK)


def test_a_download_from_a_server_that_stalls_ends_at_once_when_cancelled(server: _Server, tmp_path: Path) -> None:
    cancel, ended = CancelToken(), threading.Event()

    def work() -> None:
        try:
            fetch(Source(url=f"{server.url}/stall"), tmp_path / "image", _ignore, cancel, _QUICK)
        except Interrupted:
            ended.set()
        except DownloadFailed:
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not server.asked:
        thread.join(0.01)
    cancel.cancel()
    assert ended.wait(2)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.qcow2", "https://example.org/a/b.qcow2"),
        (f"https://me:{_SECRET}@example.org:8443/a", "https://example.org:8443/a"),
        (f"https://example.org/a?token={_SECRET}", "https://example.org/a?…"),
        (f"https://example.org/a#{_SECRET}", "https://example.org/a"),
        (f"https://{_SECRET}@{_SECRET}@example.org/", "https://example.org/"),
    ],
)
def test_what_may_be_secret_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


# The cache


def _cached(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != "lock")


def test_an_image_is_fetched_once(server: _Server, tmp_path: Path) -> None:
    cache, url = ImageCache(tmp_path), f"{server.url}/image"
    assert cache.find(url) is None
    path = cache.fetch(url, _ignore, CancelToken())
    assert cache.fetch(url, _ignore, CancelToken()) == cache.find(url) == path
    assert server.asked == ["/image"]
    assert path.read_bytes() == server.image
    assert path.stat().st_mode & 0o777 == 0o400
    assert _cached(tmp_path) == ["data", "meta.json"]


def test_another_url_is_another_image(server: _Server, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    first = cache.fetch(f"{server.url}/image", _ignore, CancelToken())
    assert cache.fetch(f"{server.url}/image?v=2", _ignore, CancelToken()) != first


def test_several_at_a_time_fetch_it_once(server: _Server, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    threads = [
        threading.Thread(target=cache.fetch, args=(f"{server.url}/image", _ignore, CancelToken())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.asked == ["/image"]


def test_secrets_of_the_url_are_not_kept(server: _Server, tmp_path: Path) -> None:
    ImageCache(tmp_path).fetch(f"{server.url}/image?token={_SECRET}", _ignore, CancelToken())
    kept = [path for path in tmp_path.rglob("*") if _SECRET in path.name or _SECRET.encode() in _bytes(path)]
    assert kept == []


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@pytest.mark.parametrize(("path", "error"), [("/404", DownloadFailed), ("/garbage", FormatDetectionFailed)])
def test_what_failed_is_not_in_the_cache(server: _Server, tmp_path: Path, path: str, error: type[Exception]) -> None:
    cache = ImageCache(tmp_path)
    with pytest.raises(error):
        cache.fetch(server.url + path, _ignore, CancelToken())
    assert cache.find(server.url + path) is None
    assert _cached(tmp_path) == []
