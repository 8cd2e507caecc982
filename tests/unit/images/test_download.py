"""Fetching files from a real server on this machine, well-behaved and otherwise."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from servers import Server, serving
from vm_manager.diagnostics.errors import (
    ChecksumMismatch,
    DownloadFailed,
    FormatDetectionFailed,
    ImageRefused,
    Interrupted,
    IoFailed,
)
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.download import Fetched, Source, fetch
from vm_manager.images.http import Limits, asked, redacted

_SECRET = "s3cret"
_QUICK = Limits(connect_s=20, stall_s=60, retry_delays_s=(0.01, 0.01))
_IMPATIENT = Limits(connect_s=20, stall_s=1.0, retry_delays_s=(0.01, 0.01))


def _ignore(done: int, total: int | None) -> None:
    return


def _get(server: Server, path: str, to: Path, limits: Limits = _QUICK, **source: object) -> Fetched:
    return fetch(Source(url=server.url + path, **source), to / "image", _ignore, CancelToken(), limits)  # type: ignore[arg-type]


def _told(server: Server, path: str, to: Path) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    fetch(Source(url=server.url + path), to / "image", lambda *so_far: told.append(so_far), CancelToken(), _QUICK)
    return told


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _sha512(data: bytes) -> str:
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


def _ranges(server: Server) -> list[int]:
    """Where each request began."""
    return [int(head.get("range", "bytes=0-")[6:-1]) for head in server.heads]


def _zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


# What arrives


@pytest.mark.parametrize("path", ["/image", "/image?token=1", "/elsewhere?to=/image", "/image?encoding=identity"])
def test_a_file_arrives_as_it_was_sent(server: Server, tmp_path: Path, path: str) -> None:
    told = _told(server, path, tmp_path)
    assert (tmp_path / "image").read_bytes() == server.image
    assert told[-1] == (len(server.image), len(server.image))
    assert [entry.name for entry in tmp_path.iterdir()] == ["image"]


def test_a_server_may_keep_the_size_to_itself(server: Server, tmp_path: Path) -> None:
    assert _told(server, "/image?length=none", tmp_path)[-1] == (len(server.image), None)


def test_what_was_fetched_is_told(server: Server, tmp_path: Path) -> None:
    assert _get(server, "/image", tmp_path) == Fetched((_sha256(server.image),), len(server.image), None)


def test_the_file_is_private(server: Server, tmp_path: Path) -> None:
    _get(server, "/image", tmp_path)
    assert (tmp_path / "image").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "compressed"),
    [("gzip", gzip.compress), ("xz", lzma.compress), ("zstd", _zstd)],
    ids=["gzip", "xz", "zstd"],
)
@pytest.mark.parametrize("drop", ["", "?drop=300000"])
def test_a_compressed_file_arrives_decompressed(
    server: Server, tmp_path: Path, kind: str, compressed: Callable[[bytes], bytes], drop: str
) -> None:
    served = server.files["/image"] = compressed(server.image)
    assert _get(server, f"/image{drop}", tmp_path, digests=(_sha512(served),)) == Fetched(
        (_sha512(served),), len(served), kind
    )
    assert (tmp_path / "image").read_bytes() == server.image
    assert [entry.name for entry in tmp_path.iterdir()] == ["image"]


@pytest.mark.parametrize("compressed", [gzip.compress, lzma.compress, _zstd])
def test_streams_behind_each_other_are_one_file(
    server: Server, tmp_path: Path, compressed: Callable[[bytes], bytes]
) -> None:
    half = len(server.image) // 2
    server.files["/image"] = compressed(server.image[:half]) + bytes(4) + compressed(server.image[half:]) + bytes(8)
    _get(server, "/image", tmp_path)
    assert (tmp_path / "image").read_bytes() == server.image


@pytest.mark.parametrize("compressed", [gzip.compress, lzma.compress, _zstd])
def test_blocks_of_zeros_become_holes(server: Server, tmp_path: Path, compressed: Callable[[bytes], bytes]) -> None:
    disk = b"begin" + bytes(64 * 1024**2)
    server.files["/image"] = compressed(disk)
    _get(server, "/image", tmp_path)
    assert (tmp_path / "image").read_bytes() == disk
    assert (tmp_path / "image").stat().st_blocks * 512 < len(disk) // 4


@pytest.mark.parametrize("compressed", [gzip.compress, lzma.compress, _zstd])
@pytest.mark.parametrize("ruin", [lambda data: data[:-20], lambda data: data[:5000] + bytes(3000) + data[8000:]])
def test_a_compressed_file_that_is_damaged_is_refused_and_gone(
    server: Server, tmp_path: Path, compressed: Callable[[bytes], bytes], ruin: Callable[[bytes], bytes]
) -> None:
    server.files["/image"] = ruin(compressed(server.image))
    with pytest.raises(FormatDetectionFailed):
        _get(server, "/image", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_checksum_of_a_damaged_file_is_the_better_reason(server: Server, tmp_path: Path) -> None:
    served = gzip.compress(server.image)
    server.files["/image"] = served[:5000] + bytes(3000) + served[8000:]
    with pytest.raises(ChecksumMismatch):
        _get(server, "/image", tmp_path, digests=(_sha256(served),))


def test_what_is_compressed_for_the_way_only_has_the_checksum_of_what_comes_out(server: Server, tmp_path: Path) -> None:
    server.files["/image.qcow2"] = gzip.compress(server.image)
    _get(server, "/image.qcow2?encoding=gzip&drop=400000", tmp_path, digests=(_sha256(server.image),))
    assert (tmp_path / "image").read_bytes() == server.image


def test_what_is_named_as_compressed_has_the_checksum_of_the_file_whatever_the_server_calls_it(
    server: Server, tmp_path: Path
) -> None:
    served = server.files["/image.gz"] = gzip.compress(server.image)
    _get(server, "/image.gz?encoding=gzip", tmp_path, digests=(_sha256(served),))
    assert (tmp_path / "image").read_bytes() == server.image


def test_an_encoding_that_nobody_asked_for_is_a_failure(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="content encoding"):
        _get(server, "/image?encoding=br", tmp_path)


def test_a_file_of_this_host_is_copied(server: Server, tmp_path: Path) -> None:
    original = tmp_path / "disk image.zst"
    original.write_bytes(_zstd(server.image))
    found = fetch(Source(url=original.as_uri()), tmp_path / "image", _ignore, CancelToken())
    assert found == Fetched((_sha256(original.read_bytes()),), original.stat().st_size, "zstd")
    assert (tmp_path / "image").read_bytes() == server.image


def test_a_file_of_this_host_that_has_another_checksum_is_not_copied(server: Server, tmp_path: Path) -> None:
    original = tmp_path / "disk.qcow2"
    original.write_bytes(server.image)
    with pytest.raises(ChecksumMismatch):
        fetch(Source(url=original.as_uri(), digests=(_sha256(b""),)), tmp_path / "image", _ignore, CancelToken())
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk.qcow2"]


# What goes wrong


@pytest.mark.parametrize(
    ("status", "advice", "again"),
    [
        (404, "check the URL", False),
        (410, "check the URL", False),
        (403, "ask its owner for access", False),
        (500, "the server has a problem: try again later", True),
    ],
)
def test_a_refusal_is_quoted(server: Server, tmp_path: Path, status: int, advice: str, again: bool) -> None:
    with pytest.raises(DownloadFailed) as caught:
        _get(server, f"/image?status={status}", tmp_path)
    diagnostic = caught.value.diagnostic
    assert diagnostic.exit_code == 9
    assert advice in diagnostic.help[0]
    assert diagnostic.evidence[0].lines[0].startswith(f"HTTP {status} ")
    assert diagnostic.retryable is again
    assert len(server.asked) == (3 if again else 1)


@pytest.mark.parametrize("path", ["/image?status=503&times=2", "/image?stall=1000&times=2"])
def test_a_passing_fault_is_waited_through(server: Server, tmp_path: Path, path: str) -> None:
    _get(server, path, tmp_path, _IMPATIENT)
    assert (tmp_path / "image").read_bytes() == server.image
    assert len(server.asked) == 3


def test_a_file_that_ends_early_is_not_taken_for_whole(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        _get(server, f"/image?length={len(server.image) + 1000}&no-range", tmp_path)
    assert caught.value.diagnostic.retryable
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize("length", ["many", "-1"])
def test_a_length_that_is_none_is_a_failure(server: Server, tmp_path: Path, length: str) -> None:
    with pytest.raises(DownloadFailed):
        _get(server, f"/image?length={length}", tmp_path)


def test_redirects_in_a_circle_are_told(server: Server, tmp_path: Path) -> None:
    # An empty Location leads to the page itself.
    with pytest.raises(DownloadFailed, match="redirect loop"):
        _get(server, "/image?to=", tmp_path)
    assert len(server.asked) == 1


def test_redirects_without_an_end_are_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="more than 10 redirects"):
        _get(server, "/image?hop=0", tmp_path)


@pytest.mark.parametrize("target", ["ftp://example.org/disk", "file:///etc/passwd", "data:,x", "http://[/"])
def test_a_redirect_to_something_else_than_http_is_not_followed(server: Server, tmp_path: Path, target: str) -> None:
    with pytest.raises(DownloadFailed, match=r"not an http or https URL|could not download"):
        _get(server, f"/image?to={target}", tmp_path)


def test_a_web_page_is_no_image(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ImageRefused) as caught:
        _get(server, "/image?page", tmp_path)
    assert caught.value.diagnostic.evidence[0].lines[0] == "<!DOCTYPE html>"
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/x", "http://127.0.0.1:0/x"])
def test_a_url_that_leads_nowhere_is_a_failed_download(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed):
        fetch(Source(url=url), tmp_path / "image", _ignore, CancelToken(), _QUICK)


def test_a_place_that_cannot_be_written_is_not_the_servers_fault(server: Server, tmp_path: Path) -> None:
    with pytest.raises(IoFailed):
        _get(server, "/image", tmp_path / "none")


def test_a_cancelled_download_ends(server: Server, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Interrupted):
        fetch(Source(url=f"{server.url}/image"), tmp_path / "image", _ignore, cancel, _QUICK)


@pytest.mark.parametrize("path", ["/image?stall=100", "/image?stall=0", "/image?status=500"])
def test_a_download_ends_at_once_when_cancelled(server: Server, tmp_path: Path, path: str) -> None:
    cancel, ended = CancelToken(), threading.Event()
    patient = Limits(retry_delays_s=(100,))

    def work() -> None:
        try:
            fetch(Source(url=server.url + path), tmp_path / "image", _ignore, cancel, patient)
        except Interrupted:
            ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not server.asked:
        thread.join(0.01)
    cancel.cancel()
    assert ended.wait(20)


# Going on


def test_a_server_that_breaks_off_all_the_time_is_asked_for_the_rest(server: Server, tmp_path: Path) -> None:
    _get(server, "/image?drop=1000000", tmp_path, digests=(_sha256(server.image),))
    assert _ranges(server) == list(range(0, len(server.image), 1000000))
    assert {head.get("if-range") for head in server.heads[1:]} == {'"one"'}


def test_a_server_that_breaks_off_and_knows_no_ranges_is_given_up(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed):
        _get(server, "/image?drop=1000000&no-range", tmp_path)
    assert len(server.asked) == 4


def test_a_download_that_was_broken_off_goes_on_in_another_process(server: Server, tmp_path: Path) -> None:
    size = _break_off(server, tmp_path, "/image")
    assert 0 < size < len(server.image)
    fetched = _get(server, "/image", tmp_path)
    assert _ranges(server) == [0, size]
    assert fetched.digests == (_sha256(server.image),)
    assert (tmp_path / "image").read_bytes() == server.image


def _break_off(server: Server, tmp_path: Path, path: str, **source: object) -> int:
    """End a download after its first bytes; how many there were."""
    cancel = CancelToken()
    with pytest.raises(Interrupted):
        fetch(
            Source(url=server.url + path, **source),  # type: ignore[arg-type]
            tmp_path / "image",
            lambda done, total: cancel.cancel(),
            cancel,
            _QUICK,
        )
    return (tmp_path / "image.part").stat().st_size


def test_a_file_that_was_all_there_but_not_named_is_asked_about(server: Server, tmp_path: Path) -> None:
    _break_off(server, tmp_path, "/image")
    (tmp_path / "image.part").write_bytes(server.image + b"more")
    _get(server, "/image", tmp_path)
    assert _ranges(server) == [0, len(server.image) - 1]
    assert (tmp_path / "image").read_bytes() == server.image


@pytest.mark.parametrize("stubborn", ["", "&stubborn"])
def test_a_file_that_has_changed_meanwhile_is_fetched_from_the_beginning(
    server: Server, tmp_path: Path, stubborn: str
) -> None:
    path = f"/image?change&times=1{stubborn}"
    _break_off(server, tmp_path, path)
    _get(server, path, tmp_path)
    assert (tmp_path / "image").read_bytes() == server.image


def test_two_files_are_never_mixed(server: Server, tmp_path: Path) -> None:
    # Every request gets another file, and breaks off.
    with pytest.raises(DownloadFailed):
        _get(server, "/image?change&drop=1500000", tmp_path)


def test_a_file_by_which_nothing_can_be_recognised_is_fetched_from_the_beginning(
    server: Server, tmp_path: Path
) -> None:
    path = "/image?no-validator"
    _break_off(server, tmp_path, path)
    _get(server, path, tmp_path)
    assert _ranges(server) == [0, 0]


def test_a_checksum_is_as_good_as_a_validator(server: Server, tmp_path: Path) -> None:
    path, digests = "/image?no-validator", (_sha256(server.image),)
    size = _break_off(server, tmp_path, path, digests=digests)
    _get(server, path, tmp_path, digests=digests)
    assert _ranges(server) == [0, size]


def test_what_another_url_has_left_is_not_gone_on_with(server: Server, tmp_path: Path) -> None:
    _break_off(server, tmp_path, "/image")
    _get(server, "/other", tmp_path)
    assert _ranges(server) == [0, 0]


@pytest.mark.parametrize("notes", ["", "{", "[]", '{"url": 5}', '{"new": 1}'])
def test_notes_that_are_damaged_are_as_good_as_none(server: Server, tmp_path: Path, notes: str) -> None:
    (tmp_path / "image.part").write_bytes(b"x" * 1000)
    (tmp_path / "image.part.json").write_text(notes)
    _get(server, "/image", tmp_path)
    assert (tmp_path / "image").read_bytes() == server.image


def test_what_was_left_and_then_damaged_is_found_out_by_the_checksum(server: Server, tmp_path: Path) -> None:
    size = _break_off(server, tmp_path, "/image")
    part = tmp_path / "image.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    _get(server, "/image", tmp_path, digests=(_sha256(server.image),))
    assert _ranges(server) == [0, size, 0]
    assert (tmp_path / "image").read_bytes() == server.image


# Checksums


@pytest.mark.parametrize("digest", [_sha256, _sha512])
def test_a_wrong_checksum_is_fetched_once_more_and_then_refused(
    server: Server, tmp_path: Path, digest: Callable[[bytes], str]
) -> None:
    expected = digest(b"another")
    with pytest.raises(ChecksumMismatch) as caught:
        _get(server, "/image", tmp_path, digests=(expected,))
    diagnostic = caught.value.diagnostic
    assert diagnostic.args == {"url": f"{server.url}/image", "actual": digest(server.image), "expected": expected}
    assert len(server.asked) == 2
    assert server.heads[1]["cache-control"] == "no-cache"
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_that_is_right_the_second_time_is_right(server: Server, tmp_path: Path) -> None:
    _get(server, "/image?garbage&times=1", tmp_path, digests=(_sha256(server.image),))
    assert (tmp_path / "image").read_bytes() == server.image


def test_of_two_checksums_both_must_be_right(server: Server, tmp_path: Path) -> None:
    good = _get(server, "/image", tmp_path, digests=(_sha256(server.image), _sha512(server.image)))
    assert set(good.digests) == {_sha256(server.image), _sha512(server.image)}
    with pytest.raises(ChecksumMismatch, match="sha512:"):
        _get(server, "/image", tmp_path, digests=(_sha256(server.image), _sha512(b"")))


@pytest.mark.parametrize("path", ["/image", "/image?length=none"])
def test_a_file_of_another_size_than_expected_is_refused_before_it_fills_the_disk(
    server: Server, tmp_path: Path, path: str
) -> None:
    with pytest.raises(DownloadFailed, match="bytes, not 1000"):
        _get(server, path, tmp_path, size_bytes=1000)


# Secrets


def test_headers_that_are_secret_go_to_the_server_that_they_are_for(server: Server, tmp_path: Path) -> None:
    _get(server, "/a?to=/b", tmp_path, headers={"Authorization": f"Bearer {_SECRET}"})
    assert [head.get("authorization") for head in server.heads] == [f"Bearer {_SECRET}"] * 2


def test_headers_that_are_secret_do_not_go_elsewhere_and_not_back(server: Server, image: bytes, tmp_path: Path) -> None:
    with serving(image) as other:
        there_and_back = f"{other.url}/b%3Fto={server.url}/c"
        _get(server, f"/a?to={there_and_back}", tmp_path, headers={"Authorization": _SECRET, "X-Token": _SECRET})
        assert _SECRET in server.heads[0].values()
        for head in (*other.heads, server.heads[1]):
            assert _SECRET not in str(head)


def test_headers_that_are_secret_do_not_go_over_plain_http(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server stands in for a proxy, through which any name can be reached.
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    url = "http://images.example/disk"
    fetch(Source(url=url, headers={"X-Token": _SECRET}), tmp_path / "image", _ignore, CancelToken(), _QUICK)
    assert server.asked == [url]
    assert _SECRET not in str(server.heads)


def test_no_proxy_stands_between_this_machine_and_itself(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{_closed_port()}")
    _get(server, "/image", tmp_path, headers={"Authorization": _SECRET})
    assert server.heads[0]["authorization"] == _SECRET


def test_netrc_does_not_take_the_place_of_what_was_given(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine images.example login me password netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _get(server, "/image", tmp_path, headers={"Authorization": _SECRET})
    assert server.heads[0]["authorization"] == _SECRET


def test_a_token_that_has_expired_is_renewed(server: Server, tmp_path: Path) -> None:
    def renew() -> Source:
        return Source(url=f"{server.url}/image?new", headers={"Authorization": "new"})

    source = Source(url=f"{server.url}/image?status=401", headers={"Authorization": "old"}, renew=renew)
    fetch(source, tmp_path / "image", _ignore, CancelToken(), _QUICK)
    assert [head["authorization"] for head in server.heads] == ["old", "new"]


def test_no_secret_of_the_url_is_in_the_failure(tmp_path: Path) -> None:
    url = f"http://me:{_SECRET}@127.0.0.1:{_closed_port()}/x?token={_SECRET}"
    with pytest.raises(DownloadFailed) as caught:
        fetch(Source(url=url), tmp_path / "image", _ignore, CancelToken(), _QUICK)
    assert _SECRET not in repr(caught.value.diagnostic)


def test_no_secret_of_a_redirect_is_in_the_failure(server: Server, tmp_path: Path) -> None:
    target = f"http://127.0.0.1:{_closed_port()}/x%3Fsignature={_SECRET}"
    with pytest.raises(DownloadFailed) as caught:
        _get(server, f"/image?to={target}", tmp_path)
    assert _SECRET not in repr(caught.value.diagnostic)


def test_no_secret_is_left_beside_the_part(server: Server, tmp_path: Path) -> None:
    _break_off(server, tmp_path, f"/image?token={_SECRET}")
    assert all(_SECRET not in path.read_text(errors="replace") for path in tmp_path.iterdir())


def test_an_answer_that_is_longer_than_it_may_be_is_not_read(server: Server) -> None:
    with (
        asked(f"{server.url}/image", cancel=CancelToken()) as answer,
        pytest.raises(DownloadFailed, match="longer than 1000 bytes"),
    ):
        answer.read(1000)


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
