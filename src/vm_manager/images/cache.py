"""The image cache. What a URL leads to may change; an image that a VM's disk stands on never does.

So images are kept by what is in them, and URLs only point to them. An image is complete and verified, or absent.
"""

from __future__ import annotations

import hashlib
import posixpath
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from vm_manager.diagnostics.errors import (
    BaseMissing,
    ConversionFailed,
    FormatDetectionFailed,
    ImageError,
    ImageRefused,
    ImageTooLarge,
    StateUntrusted,
    VmError,
)
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.image import CachedImage, ImageOrigin, SizeLimits
from vm_manager.domain.oci_reference import is_oci
from vm_manager.domain.owners import read_own
from vm_manager.domain.spec import ImageSource
from vm_manager.host.qemu_img import image_info, require_sound
from vm_manager.images.accept import make_runnable, require_acceptable
from vm_manager.images.download import Fetched, ProgressSink, Source, fetch, local_path
from vm_manager.images.http import Limits, redacted
from vm_manager.images.sources import source_of
from vm_manager.state.decoding import decode
from vm_manager.state.files import make_dir, sync_directory, write_atomically
from vm_manager.state.layout import ImageFiles
from vm_manager.state.lock import if_unlocked, wait_locked

_T = TypeVar("_T")
_META_BYTES = 256 * 1024
_COMPRESSED_NAMES = (".gz", ".xz", ".zst", ".zstd")


@dataclass(frozen=True)
class Found:
    """An image in the cache. digest: None for one that an early vmctl fetched; fetched: whether it was not there before."""

    path: Path
    digest: str | None
    fetched: bool = False


@dataclass(frozen=True)
class _Pointer:
    """`meta.json` of a URL: which image it leads to; without a digest, to `data` beside it, as early vmctls kept it.

    checked_by: the SHA-256 of the URL of the list that its checksum was taken from.
    """

    url: str
    name: str = ""
    digest: str | None = None
    fetched_at: str = ""
    checked_by: str | None = None


@dataclass(frozen=True)
class _Content:
    """`meta.json` of an image. digests, size_bytes, compression, converted_from (its format): of the file as it was served."""

    digests: tuple[str, ...]
    size_bytes: int
    format: str
    virtual_size_bytes: int
    compression: str | None = None
    converted_from: str | None = None


class ImageCache:
    """Images below the cache's directory; see `ImageFiles` for what is where."""

    def __init__(self, root: Path, limits: Limits | None = None, sizes: SizeLimits | None = None) -> None:
        self._files, self._limits, self._sizes = ImageFiles(root), limits, sizes or SizeLimits()

    def using(self, cancel: CancelToken) -> AbstractContextManager[None]:
        """While it lasts no image is removed: for making disks on them. Raises: `vmctl::interrupted`."""
        make_dir(self._files.root)
        return wait_locked(self._files.lock, cancel, shared=True)

    def removing(self, cancel: CancelToken) -> AbstractContextManager[None]:
        """While it lasts nobody makes a disk on an image, and none appears. Raises: `vmctl::interrupted`."""
        make_dir(self._files.root)
        return wait_locked(self._files.lock, cancel)

    def find(self, image: ImageSource) -> Found | None:
        """The image of a URL if it is in the cache and known to have the checksums that are asked for."""
        home = self._home(image)
        pointer = _read(home / "meta.json", _Pointer)
        if pointer is not None and pointer.digest is None:
            wants_none = not image.digests and not image.checksum_url
            return Found(home / "data", None) if wants_none and (home / "data").exists() else None
        if image.checksum_url and (pointer is None or pointer.checked_by != _sha256(image.checksum_url)):
            return None
        for digest in (*image.digests, *([pointer.digest] if pointer and pointer.digest else [])):
            found = self._content(digest)
            if found is not None and set(image.digests) <= set(found[1].digests):
                return Found(found[0], digest)
        return None

    def fetch(self, image: ImageSource, progress: ProgressSink, cancel: CancelToken, *, name: str = "") -> Found:
        """The image of a URL, fetched unless it is there. Two at a time, threads or processes, fetch it once.

        name: what it is called in lists, by default the last part of the URL.
        Raises: `image::download_failed`, `oci::pull_failed`, `image::checksum_mismatch`, `image::refused`, `image::too_large`,
        `image::format_detection_failed`, `image::conversion_failed`, `host::disk_full`, `vmctl::interrupted`.
        """
        home = self._home(image)
        make_dir(home)
        with wait_locked(home / "lock", cancel):
            if (found := self.find(image)) is not None and (home / "meta.json").exists():
                if name:
                    self._rename(home, name)
                return found
            source = source_of(image, cancel, self._limits)
            with self.using(cancel):
                known = next(filter(None, map(self._content, source.digests)), None)
                if known is not None and set(source.digests) <= set(known[1].digests):
                    self._point(home, image, source.digests[0], name)
                    return Found(known[0], source.digests[0])
            return self._fetch(home, image, source, name, progress, cancel)

    def take_over(self, other: ImageCache, digest: str, cancel: CancelToken) -> Path:
        """The image of another cache, in this one: the same file where both are on one file system, else a copy.

        The caller knows that a disk stands on it there. Raises: `image::base_missing`, `host::disk_full`, `io`.
        """
        found = other._content(digest)
        if found is None:
            raise BaseMissing("the image {path} no longer exists", {"path": str(other._data(digest))})
        data, content = found
        # Where `leftovers` looks for what was broken off.
        home = self._files.by_url / _sha256(digest)
        new = home / "fetched"
        make_dir(home)
        with wait_locked(home / "lock", cancel), self.using(cancel), os_errors(new):
            if not self._data(digest).exists():
                new.unlink(missing_ok=True)
                try:
                    new.hardlink_to(data)
                except OSError:
                    shutil.copyfile(data, new)
                make_dir(self._files.by_digest)
                self._keep(new, digest, content, cancel)
        return self._data(digest)

    def images(self) -> tuple[CachedImage, ...]:
        """What is in the cache, by name."""
        origins: dict[Path, list[ImageOrigin]] = {}
        digests: dict[Path, str | None] = {}
        for home, pointer in self._pointers():
            data = self._data(pointer.digest) if pointer.digest else home / "data"
            origin = ImageOrigin(
                url=pointer.url, name=pointer.name or name_of(pointer.url), fetched_at=pointer.fetched_at
            )
            origins.setdefault(data, []).append(origin)
            digests[data] = pointer.digest
            if (home / "data").exists():
                # What an early vmctl fetched from there; the URL may lead to another image since.
                origins.setdefault(home / "data", [origin])
                digests[home / "data"] = None
        for home in _directories(self._files.by_digest):
            digests[home / "data"] = home.name.replace("-", ":", 1)
        found = (self._described(data, digest, origins.get(data, [])) for data, digest in digests.items())
        return tuple(sorted(filter(None, found), key=lambda image: (image.name, image.path)))

    def remove(self, image: CachedImage) -> None:
        """Remove an image and what points to it; the caller holds `removing`, and knows that no disk stands on it."""
        path = Path(image.path)
        with os_errors(path):
            # The image first: a pointer that leads nowhere harms nobody, an image that nothing leads to is there for ever.
            path.unlink(missing_ok=True)
            for home, pointer in list(self._pointers()):
                if pointer.digest == image.digest and (image.digest or home == path.parent):
                    (home / "meta.json").unlink(missing_ok=True)
            if path.parent.parent == self._files.by_digest:
                shutil.rmtree(path.parent)

    def leftovers(self) -> tuple[Path, ...]:
        """What broken off downloads have left behind."""
        return tuple(
            path
            for home in _directories(self._files.by_url)
            for path in sorted(home.iterdir())
            if path.name.startswith("fetched") or path.name == "data.part"
        )

    def remove_leftover(self, path: Path) -> bool:
        """Remove one, unless somebody is just now fetching there."""
        with if_unlocked(path.parent / "lock") as free, os_errors(path):
            if free:
                path.unlink(missing_ok=True)
            return free

    def _fetch(
        self, home: Path, image: ImageSource, source: Source, name: str, progress: ProgressSink, cancel: CancelToken
    ) -> Found:
        new = home / "fetched"
        with os_errors(home):
            new.unlink(missing_ok=True)
        try:
            fetched = fetch(source, new, progress, cancel, self._limits, limit_bytes=self._sizes.file_bytes)
            content = _accepted(new, fetched, source, self._sizes, cancel)
            digest = _address(fetched, source)
            with self.using(cancel):
                self._keep(new, digest, content, cancel)
                self._point(home, image, digest, name)
        finally:
            new.unlink(missing_ok=True)
        return Found(self._data(digest), digest, fetched=True)

    def _keep(self, new: Path, digest: str, content: _Content, cancel: CancelToken) -> None:
        data = self._data(digest)
        make_dir(data.parent)
        with wait_locked(data.parent / "lock", cancel), os_errors(data):
            # Another URL had the same: disks may stand on it already, and it must not change, be it to its like.
            if not data.exists():
                write_atomically(data.parent / "meta.json", msgspec.json.encode(content))
                new.chmod(0o400)  # overlays depend on its every byte
                new.rename(data)
                sync_directory(data.parent)
                sync_directory(self._files.by_digest)

    def _point(self, home: Path, image: ImageSource, digest: str, name: str) -> None:
        url = image.url or ""
        pointer = _Pointer(
            url=redacted(url),
            name=name or name_of(url),
            digest=digest,
            fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
            checked_by=_sha256(image.checksum_url) if image.checksum_url else None,
        )
        write_atomically(home / "meta.json", msgspec.json.encode(pointer))

    def _rename(self, home: Path, name: str) -> None:
        pointer = _read(home / "meta.json", _Pointer)
        if pointer is not None and pointer.name != name:
            write_atomically(home / "meta.json", msgspec.json.encode(replace(pointer, name=name)))

    def _content(self, digest: str) -> tuple[Path, _Content] | None:
        data = self._data(digest)
        content = _read(data.parent / "meta.json", _Content)
        return (data, content) if content is not None and data.exists() else None

    def _data(self, digest: str) -> Path:
        return self._files.by_digest / digest.replace(":", "-") / "data"

    def _pointers(self) -> Iterator[tuple[Path, _Pointer]]:
        for home in _directories(self._files.by_url):
            pointer = _read(home / "meta.json", _Pointer)
            if pointer is not None:
                yield home, pointer

    def _described(self, data: Path, digest: str | None, origins: list[ImageOrigin]) -> CachedImage | None:
        content = _read(data.parent / "meta.json", _Content) if digest else None
        try:
            size = data.stat().st_blocks * 512
        except FileNotFoundError:
            return None
        info = None
        if not content:
            with suppress(ImageError):  # one that can be neither run nor described can still be removed
                info = image_info(data)
        return CachedImage(
            path=str(data),
            digest=digest,
            format=content.format if content else info.format if info else "",
            size_bytes=size,
            virtual_size_bytes=content.virtual_size_bytes if content else info.virtual_size_bytes if info else 0,
            origins=tuple(sorted(origins, key=lambda origin: (origin.fetched_at, origin.name))),
        )

    def _home(self, image: ImageSource) -> Path:
        key = url = image.url or ""
        if image.architecture and is_oci(url):
            key = f"{url} {image.architecture}"  # a registry has several under one name
        if urlsplit(url).scheme == "file":
            # A file of this host that has changed is another image, and it costs nothing to look.
            with os_errors(local_path(url)):
                status = local_path(url).stat()
            key = f"{url} {status.st_size} {status.st_mtime_ns}"
        return self._files.by_url / _sha256(key)


def name_of(url: str) -> str:
    """What an image is called unless it is given a name: the last part of its URL, as it is when it is decompressed."""
    name = name_of_file(url)
    if is_oci(url):
        name = name.partition("@")[0]
    return next((name.removesuffix(suffix) for suffix in _COMPRESSED_NAMES if name.endswith(suffix)), name)


def name_of_file(url: str) -> str:
    """The last part of a URL's path; the URL itself, if it has none."""
    return posixpath.basename(unquote(urlsplit(url).path).rstrip("/")) or url


def _accepted(new: Path, fetched: Fetched, source: Source, sizes: SizeLimits, cancel: CancelToken) -> _Content:
    try:
        converted_from = make_runnable(new, sizes, cancel)
        info = require_acceptable(new, sizes)
        require_sound(new, info.format)
    except (ImageRefused, ImageTooLarge, FormatDetectionFailed, ConversionFailed) as error:
        raise _of_source(error, new, redacted(source.url)) from error.__cause__
    return _Content(
        fetched.digests,
        fetched.size_bytes,
        info.format,
        info.virtual_size_bytes,
        fetched.compression,
        converted_from,
    )


def _of_source(error: VmError, new: Path, url: str) -> VmError:
    """The same failure, told of what was fetched: the file in the cache is about to go."""
    help = tuple(_elsewhere(line, new, name_of_file(url)) for line in error.diagnostic.help)
    return error.told_of(str(new), url).enrich(help=help, notes=(f"it was downloaded from {url} and discarded",))


def _elsewhere(help: str, new: Path, name: str) -> str:
    """A help with commands for a file in the cache, for one that somebody fetches himself."""
    if str(new.parent) not in help:
        return help
    return f"download it yourself, then {help.replace(str(new), name).replace(str(new.parent), '.')}"


def _address(fetched: Fetched, source: Source) -> str:
    """The digest that an image is kept under: the first that was asked for, else the one it was hashed with."""
    return source.digests[0].lower() if source.digests else fetched.digests[0]


def _read(path: Path, kind: type[_T]) -> _T | None:
    """A file of the cache's own; None when it is missing or unreadable: what it says can be found out again."""
    try:
        return decode(read_own(path, _META_BYTES), kind)
    except (OSError, StateUntrusted, msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _directories(path: Path) -> list[Path]:
    with os_errors(path), suppress(FileNotFoundError):
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    return []


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
