"""The image cache: an image is complete and verified, or absent."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from servers import Server
from vm_manager.diagnostics.errors import ChecksumMismatch, DownloadFailed, FormatDetectionFailed, ImageRefused
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.spec import ImageSource
from vm_manager.images.cache import Found, ImageCache
from vm_manager.images.http import Limits

_SECRET = "s3cret"
_QUICK = Limits(retry_delays_s=(0.01, 0.01))


def _ignore(done: int, total: int | None) -> None:
    return


def _fetch(root: Path, url: str, **checks: Any) -> Found:
    return ImageCache(root, _QUICK).fetch(ImageSource(url=url, **checks), _ignore, CancelToken())


def _cached(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != "lock")


def test_an_image_is_fetched_once(server: Server, tmp_path: Path) -> None:
    cache, image = ImageCache(tmp_path), ImageSource(url=f"{server.url}/image")
    assert cache.find(image) is None
    first = _fetch(tmp_path, f"{server.url}/image")
    assert first.fetched
    assert _fetch(tmp_path, f"{server.url}/image") == cache.find(image) == Found(first.path, first.digest)
    assert server.asked == ["/image"]
    assert first.path.read_bytes() == server.image
    assert first.path.stat().st_mode & 0o777 == 0o400
    assert _cached(tmp_path) == ["data", "meta.json", "meta.json"]


def test_urls_of_one_name_with_different_images_are_kept_apart(server: Server, tmp_path: Path) -> None:
    server.files["/b/image"] = server.files["/c/image"] = b"\0" * 512
    first, second, third = (_fetch(tmp_path, f"{server.url}/{place}/image") for place in "abc")
    assert first.path.read_bytes() != second.path.read_bytes()
    assert second.path == third.path, "what is the same is kept once"


def test_several_at_a_time_fetch_it_once(server: Server, tmp_path: Path) -> None:
    found: list[Found] = []
    work = lambda: found.append(_fetch(tmp_path, f"{server.url}/image"))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.asked == ["/image"]
    assert sorted(each.fetched for each in found) == [False] * 4 + [True]


def test_what_a_url_leads_to_may_change_and_the_image_that_a_disk_stands_on_does_not(
    server: Server, tmp_path: Path
) -> None:
    url = f"{server.url}/image"
    old = _fetch(tmp_path, url)
    server.files["/image"] = b"\0" * 1024
    new = _fetch(tmp_path, url, sha512=hashlib.sha512(b"\0" * 1024).hexdigest())
    assert new.fetched
    assert new.path.read_bytes() == b"\0" * 1024
    assert old.path.read_bytes() == server.image


def test_an_image_that_was_not_checked_is_not_taken_for_one_that_was(server: Server, tmp_path: Path) -> None:
    url, sha512 = f"{server.url}/image", hashlib.sha512(server.image).hexdigest()
    _fetch(tmp_path, url)
    assert ImageCache(tmp_path).find(ImageSource(url=url, sha512=sha512)) is None
    assert _fetch(tmp_path, url, sha512=sha512).fetched
    assert not _fetch(tmp_path, url, sha512=sha512.upper()).fetched
    assert not _fetch(tmp_path, url).fetched


def test_an_image_with_the_same_checksum_is_not_fetched_from_elsewhere(server: Server, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(server.image).hexdigest()
    first = _fetch(tmp_path, f"{server.url}/a", sha256=sha256)
    second = _fetch(tmp_path, f"{server.url}/b", sha256=sha256)
    assert (second.path, second.fetched) == (first.path, False)
    assert server.asked == ["/a"]
    assert [origin.name for origin in ImageCache(tmp_path).images()[0].origins] == ["a", "b"]


_LISTS = {
    "Debian": "{sha512}  other.qcow2\n{right512}  disk.qcow2\n",
    "Ubuntu": "{sha256} *other.img\n{right256} *disk.qcow2\n",
    "Fedora": "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.qcow2: 5 bytes\n"
    "SHA256 (disk.qcow2) = {right256}\n-----BEGIN PGP SIGNATURE-----\n",
}


@pytest.mark.parametrize("publisher", _LISTS)
def test_checksums_come_from_the_lists_of(server: Server, tmp_path: Path, publisher: str) -> None:
    other = b"other"
    server.files["/SUMS"] = (
        _LISTS[publisher]
        .format(
            sha256=hashlib.sha256(other).hexdigest(),
            sha512=hashlib.sha512(other).hexdigest(),
            right256=hashlib.sha256(server.image).hexdigest(),
            right512=hashlib.sha512(server.image).hexdigest(),
        )
        .encode()
    )
    url, lists = f"{server.url}/disk.qcow2", f"{server.url}/SUMS"
    assert _fetch(tmp_path, url, checksum_url=lists).fetched
    assert not _fetch(tmp_path, url, checksum_url=lists).fetched
    assert server.asked == ["/SUMS", "/disk.qcow2"]
    with pytest.raises(ChecksumMismatch):
        _fetch(tmp_path / "new", f"{url}?garbage", checksum_url=lists)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "has no checksum for"), (b"\xff" * 100, "has no checksum for"), (b"x" * 5_000_000, "is longer than")],
)
def test_a_list_without_the_image_is_a_failure(server: Server, tmp_path: Path, content: bytes, reason: str) -> None:
    server.files["/SUMS"] = content
    with pytest.raises(DownloadFailed, match=reason):
        _fetch(tmp_path, f"{server.url}/disk.qcow2", checksum_url=f"{server.url}/SUMS")
    assert server.asked == ["/SUMS"]


def test_a_file_of_this_host_that_has_changed_is_taken_anew(server: Server, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(server.image)
    root = tmp_path / "cache"
    assert _fetch(root, disk.as_uri()).fetched
    assert not _fetch(root, disk.as_uri()).fetched
    disk.write_bytes(b"\0" * 1024)
    assert _fetch(root, disk.as_uri()).path.read_bytes() == b"\0" * 1024


def test_what_an_early_vmctl_has_fetched_is_still_of_use(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/image"
    home = tmp_path / "by-url" / hashlib.sha256(url.encode()).hexdigest()
    home.mkdir(parents=True)
    (home / "data").write_bytes(server.image)
    (home / "meta.json").write_text(json.dumps({"url": url}))
    assert _fetch(tmp_path, url) == Found(home / "data", None)
    (listed,) = ImageCache(tmp_path).images()
    assert (listed.name, listed.digest, listed.format) == ("image", None, "qcow2")
    assert _fetch(tmp_path, url, sha256=hashlib.sha256(server.image).hexdigest()).fetched
    assert (home / "data").exists(), "disks may stand on it"
    cache = ImageCache(tmp_path)
    old, new = sorted(cache.images(), key=lambda image: image.digest or "")
    assert (old.path, old.name, new.name) == (str(home / "data"), "image", "image")
    cache.remove(old)
    assert cache.images() == (new,)
    assert not (home / "data").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 7}'])
def test_metadata_that_is_damaged_is_found_out_again(server: Server, tmp_path: Path, text: str) -> None:
    url = f"{server.url}/image"
    found = _fetch(tmp_path, url)
    for meta in tmp_path.rglob("meta.json"):
        meta.write_text(text)
    assert _fetch(tmp_path, url).path == found.path
    assert len(server.asked) == 2
    assert ImageCache(tmp_path).images()[0].format == "qcow2"


def test_secrets_of_the_url_are_not_kept(server: Server, tmp_path: Path) -> None:
    _fetch(tmp_path, f"{server.url}/image?token={_SECRET}")
    kept = [path for path in tmp_path.rglob("*") if _SECRET in path.name or _SECRET.encode() in _bytes(path)]
    assert kept == []


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("status=404", DownloadFailed),
        ("garbage", FormatDetectionFailed),
        ("page", ImageRefused),
        ("length=none&drop=1000000", FormatDetectionFailed),
    ],
)
def test_what_failed_is_not_in_the_cache(server: Server, tmp_path: Path, query: str, error: type[Exception]) -> None:
    url = f"{server.url}/image?{query}"
    with pytest.raises(error):
        _fetch(tmp_path, url)
    assert ImageCache(tmp_path).find(ImageSource(url=url)) is None
    assert _cached(tmp_path) == []
    assert ImageCache(tmp_path).images() == ()
