"""A server that means no good, or is merely hopeless: it is given up in time, and nothing of it fills the memory or the disk."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile_sshd import listening
from oci_registry import INDEX, MANIFEST, QCOW2_LAYER
from vm_manager.diagnostics.errors import DownloadFailed, OciPullFailed, VmError
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.oci_reference import parse_reference
from vm_manager.domain.spec import ImageSource
from vm_manager.images.download import Source, fetch
from vm_manager.images.http import Limits
from vm_manager.images.oci.manifest import disk_of, image_of, read_manifest
from vm_manager.images.sources import source_of
from within import quickly, within

Behaviour = Callable[[socket.socket], None]
_LIMITS = Limits(connect_s=5, stall_s=5, head_s=1, answer_s=2, least_rate=1024, window_s=1, retry_delays_s=())
_DOCUMENTS = int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "2000"))
_REFERENCE = parse_reference("oci://example.org/image:1")
_OK = b"HTTP/1.1 200 OK\r\n"


def _slowly(piece: bytes, *before: bytes) -> Behaviour:
    """Some bytes at once, and then that piece again and again, twenty times a second."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"".join(before))
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return behave


def _endlessly(piece: bytes, *before: bytes) -> Behaviour:
    """Some bytes, and then that piece again and again, as fast as it is taken."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"".join(before))
        data = piece * max(1, 65_536 // len(piece))
        while True:
            connection.sendall(data)

    return behave


def _fetch(url: str, into: Path, limits: Limits = _LIMITS) -> None:
    fetch(Source(url=url), into, lambda done, total: None, CancelToken(), limits)


_LENGTH, _CHUNKED = b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
_SERVERS: dict[str, Behaviour] = {
    "two bytes at a time": _slowly(b"xx", _OK, _LENGTH),
    "two bytes, no length": _slowly(b"xx", _OK, b"\r\n"),
    "small chunks": _slowly(b"1\r\nx\r\n", _OK, _CHUNKED),
    "a slow length of a chunk": _slowly(b"0", _OK, _CHUNKED),
    "slow trailers": _slowly(b"a: b\r\n", _OK, _CHUNKED, b"0\r\n"),
    "endless trailers": _endlessly(b"a: b\r\n", _OK, _CHUNKED, b"0\r\n"),
    "a slow status": _slowly(b"H"),
    "an endless status": _endlessly(b"H"),
    "slow headers": _slowly(b"a: b\r\n", _OK),
    "endless headers": _endlessly(b"a: b\r\n", _OK),
    "an endless header": _endlessly(b"a", _OK),
    "slow preliminary answers": _slowly(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless preliminary answers": _endlessly(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a length without end": _endlessly(b"x", _OK, b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "silence": lambda connection: time.sleep(20),
}


@pytest.mark.parametrize("behave", _SERVERS.values(), ids=_SERVERS)
def test_a_server_that_does_not_come_to_an_end_is_given_up(behave: Behaviour, tmp_path: Path) -> None:
    with listening(behave) as endpoint, within(12), pytest.raises(DownloadFailed) as caught:
        _fetch(f"http://{endpoint.host}:{endpoint.port}/disk", tmp_path / "disk")
    assert caught.value.diagnostic.help
    assert not (tmp_path / "disk").exists()


def test_a_server_that_is_too_slow_is_not_asked_for_ever_because_it_brings_a_little_each_time(tmp_path: Path) -> None:
    limits = Limits(connect_s=5, stall_s=5, head_s=1, least_rate=1024, window_s=0.5, retry_delays_s=(0.01, 0.01))
    with listening(_SERVERS["two bytes at a time"]) as endpoint, within(12), pytest.raises(DownloadFailed) as caught:
        _fetch(f"http://{endpoint.host}:{endpoint.port}/disk", tmp_path / "disk", limits)
    assert "too slow" in str(caught.value)
    assert caught.value.diagnostic.retryable
    assert (tmp_path / "disk.part").exists()


@pytest.mark.parametrize("behave", ["two bytes at a time", "silence", "a slow status"])
def test_a_server_that_is_too_slow_twice_in_a_row_is_not_asked_again(behave: str, tmp_path: Path) -> None:
    asked = []

    def counted(connection: socket.socket) -> None:
        asked.append(connection)
        _SERVERS[behave](connection)

    limits = Limits(connect_s=5, stall_s=5, head_s=1, least_rate=1024, window_s=0.5, retry_delays_s=(0.01,) * 20)
    with listening(counted) as endpoint, within(12), pytest.raises(DownloadFailed):
        _fetch(f"http://{endpoint.host}:{endpoint.port}/disk", tmp_path / "disk", limits)
    assert len(asked) == 2


def test_as_shipped_it_takes_less_than_a_minute_and_a_half() -> None:
    assert 2 * Limits().window_s * 9 / 8 + Limits().retry_delays_s[0] < 150


_DISK = bytes(510) + b"\x55\xaa" + bytes(60_000)


def _paced(connection: socket.socket, rate: int, pause_s: float = 0) -> None:
    """Serves the disk, or what is missing of it, at so many bytes a second, and pauses once in the middle of the whole."""
    asked = connection.recv(65_536).decode().lower()
    found = re.search(r"range: bytes=(\d+)-", asked)
    first = int(found[1]) if found else 0
    status = f"206 Part\r\nContent-Range: bytes {first}-{len(_DISK) - 1}/{len(_DISK)}" if found else "200 OK"
    head = f'HTTP/1.1 {status}\r\nETag: "a"\r\nContent-Length: {len(_DISK) - first}\r\n\r\n'
    connection.sendall(head.encode())
    for at in range(first, len(_DISK), rate // 10):
        connection.sendall(_DISK[at : at + rate // 10])
        time.sleep(0.1)
        if not first and at > len(_DISK) // 2:
            time.sleep(pause_s)
            pause_s = 0


@pytest.mark.parametrize(("rate", "pause_s"), [(30 * 1024, 0), (100 * 1024, 2)], ids=["slow", "a pause"])
def test_a_server_that_is_merely_slow_or_pauses_once_is_not_given_up(tmp_path: Path, rate: int, pause_s: float) -> None:
    limits = Limits(connect_s=5, stall_s=5, head_s=1, least_rate=1024, window_s=0.5, retry_delays_s=(0.01,))
    with listening(lambda connection: _paced(connection, rate, pause_s)) as endpoint, within(12):
        _fetch(f"http://{endpoint.host}:{endpoint.port}/disk", tmp_path / "disk", limits)
    assert (tmp_path / "disk").read_bytes() == _DISK


def test_redirects_without_end_are_given_up(tmp_path: Path) -> None:
    number = itertools.count()

    def redirect(connection: socket.socket) -> None:
        connection.recv(65_536)
        where = f"/{next(number)}/{'x' * 10_000}"
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())

    with listening(redirect) as endpoint, within(12), pytest.raises(DownloadFailed) as caught:
        _fetch(f"http://{endpoint.host}:{endpoint.port}/disk", tmp_path / "disk")
    assert len(str(caught.value)) < 2000
    assert next(number) < 20


def _own_address() -> str:
    """The address that this machine has for others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of TEST-NET-1; nothing is sent
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


def _redirect(to: str) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())

    return behave


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_a_server_elsewhere_cannot_redirect_to_a_service_of_this_machine(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = _own_address(), []
    monkeypatch.setenv("NO_PROXY", "*")

    def service(connection: socket.socket) -> None:
        if request := connection.recv(65_536):
            asked.append(request)

    with listening(service) as inside, listening(_redirect(f"http://{host}:{inside.port}/disk"), address) as outside:
        with pytest.raises(DownloadFailed, match="redirected to this machine") as caught:
            _fetch(f"http://{outside.host}:{outside.port}/disk", tmp_path / "disk")
        assert caught.value.diagnostic.help
        # What is on this machine itself may.
        with listening(_redirect(f"http://{host}:{inside.port}/disk")) as own, pytest.raises(DownloadFailed):
            _fetch(f"http://{own.host}:{own.port}/disk", tmp_path / "disk")
    assert len(asked) == 1


@pytest.mark.parametrize("piece", [b"x", b"\n", b"0" * 64 + b"  disk\n"], ids=["line", "lines", "entries"])
def test_a_list_of_checksums_without_end_is_given_up(piece: bytes, tmp_path: Path) -> None:
    with listening(_endlessly(piece, _OK, b"\r\n")) as endpoint, within(12), pytest.raises(DownloadFailed):
        source_of(
            ImageSource(url="http://127.0.0.1/disk", checksum_url=f"http://{endpoint.host}:{endpoint.port}/SHA256SUMS"),
            CancelToken(),
            _LIMITS,
        )


_ANSWERS = {
    "manifest": _endlessly(b"[", _OK, b"\r\n"),
    "slow manifest": _slowly(b"[", _OK, b"\r\n"),
    "manifest in time": _slowly(b"[" * 1000, _OK, b"\r\n"),
    "nested manifest": _endlessly(b"[", _OK, b"Content-Length: 4000000\r\n\r\n"),
    "challenge": _endlessly(b'a="\\', b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer "),
    "headers": _endlessly(b"a: b\r\n", _OK),
}


@pytest.mark.parametrize("behave", _ANSWERS.values(), ids=_ANSWERS)
def test_a_registry_that_does_not_come_to_an_end_is_given_up(behave: Behaviour) -> None:
    with listening(behave) as endpoint, within(15), pytest.raises(OciPullFailed) as caught:
        source_of(ImageSource(url=f"oci://{endpoint.host}:{endpoint.port}/image:1"), CancelToken(), _LIMITS)
    assert caught.value.diagnostic.help


def test_a_token_without_end_is_given_up() -> None:
    token = _endlessly(b"x", _OK, b'\r\n{"token": "')

    with listening(token) as tokens:
        realm = f'Bearer realm="http://{tokens.host}:{tokens.port}/token"'
        head = f"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: {realm}\r\n\r\n".encode()

        def registry(connection: socket.socket) -> None:
            connection.recv(65_536)
            connection.sendall(head)

        with listening(registry) as endpoint, within(15), pytest.raises(OciPullFailed):
            source_of(ImageSource(url=f"oci://{endpoint.host}:{endpoint.port}/image:1"), CancelToken(), _LIMITS)


_LAYER = {"mediaType": QCOW2_LAYER, "digest": "sha256:" + "0" * 64, "size": 1}
_VALUES: st.SearchStrategy[object] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**30,
        1.5,
        "",
        "x" * 5000,
        "sha256:",
        MANIFEST,
        INDEX,
        [],
        [[]],
        {},
        {"a": {"a": {}}},
        [_LAYER],
        _LAYER,
    ]
)
_NAMES = st.sampled_from(
    ["mediaType", "layers", "manifests", "config", "schemaVersion", "digest", "size", "platform", ""]
)


@settings(max_examples=_DOCUMENTS, deadline=None, database=None)
@given(
    document=st.dictionaries(_NAMES, _VALUES, max_size=6),
    layer=st.dictionaries(_NAMES, _VALUES, max_size=3),
    cut=st.integers(0, 60),
    kind=st.sampled_from([MANIFEST, INDEX, "", "text/html; \xff"]),
)
def test_any_manifest_is_read_or_diagnosed(
    document: dict[str, object], layer: dict[str, object], cut: int, kind: str
) -> None:
    whole = {"mediaType": MANIFEST, "layers": [{**_LAYER, **layer}], **document}
    text = json.dumps(whole)

    def read() -> None:
        manifest = read_manifest((text[:-cut] if cut % 3 == 1 else text).encode(), kind, _REFERENCE)
        image_of(manifest, _REFERENCE, "x86_64") if manifest.manifests is not None else disk_of(manifest, _REFERENCE)

    with suppress(VmError):
        quickly(read)
