"""Fetching a file so that it is complete and verified, or absent; what has arrived before a failure need not come again.

Beside the destination `x`, while it is fetched: `x.part` has the bytes as the server sends them, `x.part.json` what the
server said of the file, `x.expanded` what comes out of a compressed one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vm_manager.diagnostics.errors import (
    ChecksumMismatch,
    DiskFull,
    DownloadFailed,
    FormatDetectionFailed,
    ImageRefused,
    ImageTooLarge,
    VmError,
)
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.bounded_json import parse
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.image import SizeLimits
from vm_manager.host.disk_space import require_spare
from vm_manager.host.regular_file import open_image
from vm_manager.images.arrival import Arrival
from vm_manager.images.http import Answer, Limits, asked, redacted
from vm_manager.images.room import too_large
from vm_manager.state.files import private, sync_directory, write_atomically

_log = logging.getLogger(__name__)

_READ_BYTES = 1024 * 1024
# After a connection that brought something before it broke.
_PAUSE_S = 0.1
# Tries in a row that waited for as long as a server may be too slow.
_MOST_SLOW = 2
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
_DIGITS = 18
_NOTES_BYTES = 64 * 1024
# Encodings that are told from the data itself; see arrival.py.
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "zstd", "xz"})
_COMPRESSED_NAMES = (".gz", ".xz", ".zst", ".zstd")

ProgressSink = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a file comes from, and what is known of it.

    url: http, https or file.
    headers: secret ones, such as `Authorization`: sent to the URL's own scheme, host and port only, and over plain http to
    this machine only.
    digests: what the file as it is served must have, `sha256:…` or `sha512:…`; all of them.
    size_bytes: of the file as it is served.
    renew: asked for a source to go on with when the server no longer lets us (401, 403), as when a token has expired.
    failed: what an `image::download_failed` becomes for who knows more about this server.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    digests: tuple[str, ...] = ()
    size_bytes: int | None = None
    renew: Callable[[], Source] | None = None
    failed: Callable[[DownloadFailed], VmError] | None = None


@dataclass(frozen=True)
class Fetched:
    """What was fetched. digests: of the file as it was served, those that were asked for, else SHA-256.

    size_bytes: as it was served. compression: zstd, xz, gzip, or None; the file itself is decompressed.
    """

    digests: tuple[str, ...]
    size_bytes: int
    compression: str | None


def fetch(
    source: Source,
    into: Path,
    progress: ProgressSink,
    cancel: CancelToken,
    limits: Limits | None = None,
    *,
    limit_bytes: int = SizeLimits().file_bytes,
) -> Fetched:
    """Fetch a file to `into`, which is complete and verified when it appears; the caller keeps others away from it.

    A connection that breaks is made again, and what has arrived is kept, also over the end of this process, as long as the
    server's file stays the same. A wrong checksum makes it fetch the file once more from the beginning.
    progress: told the bytes so far and in all (None when the server does not say), as they are served.
    limit_bytes: how long the file may be, also when it is decompressed.
    Raises: `image::download_failed`, `image::checksum_mismatch`, `image::refused`, `image::format_detection_failed`,
    `image::too_large`, `host::disk_full`, `vmctl::interrupted`.
    """
    try:
        return _Fetch(source, into, progress, cancel, limits or Limits(), limit_bytes).run()
    except DownloadFailed as error:
        if source.failed is None:
            raise
        raise source.failed(error) from error


@dataclass(frozen=True)
class _Served:
    """What the server said of a file, kept to find out whether it is still the same.

    url: hashed, it may be secret. encoded: whether it was compressed for the way only.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    size: int | None = None
    encoded: bool = False

    @classmethod
    def of(cls, url: str, answer: Answer) -> _Served:
        etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        # A weak validator says "as good as", not "the same bytes". Source: RFC 9110, section 8.8.1.
        strong = etag if etag and not etag.startswith("W/") else None
        length = answer.headers.get("Content-Length", "")
        size = int(length) if _is_number(length) else None
        weak = not _is_old(modified, answer.headers.get("Date"))
        # What is named as compressed is so by itself: some servers say it once more as the encoding.
        named = unquote(urlsplit(url).path).lower().endswith(_COMPRESSED_NAMES)
        encoded = _encoding(answer) not in ("", "identity") and not named
        return cls(_hashed(url), strong, None if weak else modified, size, encoded)

    @property
    def validator(self) -> str | None:
        return self.etag or self.modified


class _Changed(Exception):
    """The server's file is not the one that was begun with."""


class _Fetch:
    """One call of `fetch`."""

    def __init__(
        self,
        source: Source,
        into: Path,
        progress: ProgressSink,
        cancel: CancelToken,
        limits: Limits,
        limit_bytes: int,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._source, self._into, self._cancel, self._limits = source, into, cancel, limits
        self._progress = progress
        self._part = into.with_name(f"{into.name}.part")
        self._notes = into.with_name(f"{into.name}.part.json")
        self._expanded = into.with_name(f"{into.name}.expanded")
        self._algorithms = {digest.partition(":")[0] for digest in source.digests} or {"sha256"}
        self._served: _Served | None = None
        self._arrival: Arrival | None = None
        self._most = 0
        self._fresh = False

    def run(self) -> Fetched:
        try:
            with os_errors(self._into):
                fetched = self._verified()
                self._appear(fetched)
                return fetched
        except (ImageRefused, ImageTooLarge, FormatDetectionFailed, ChecksumMismatch, DiskFull):
            self._discard()
            raise
        except DownloadFailed as error:
            if not error.diagnostic.retryable:
                self._discard()
            raise
        finally:
            self._end_arrival()

    def _verified(self) -> Fetched:
        """Everything has arrived and is what it should be."""
        while True:
            self._receive_all()
            assert self._arrival is not None
            digests, damage = self._arrival.finish()
            found = {f"{algorithm}:{digest}" for algorithm, digest in digests.items()}
            wanted = {digest.lower() for digest in self._source.digests}
            if wanted <= found:
                if damage is not None:
                    raise damage.enrich(notes=(f"fetched from {redacted(self._source.url)}",))
                return Fetched(tuple(sorted(found)), self._arrival.size, self._arrival.compression)
            if self._fresh or urlsplit(self._source.url).scheme == "file":
                raise self._mismatch(min(wanted - found), found)
            _log.info("%s has the wrong checksum; once more", redacted(self._source.url))
            self._fresh, self._most = True, 0
            self._discard()

    def _receive_all(self) -> None:
        if urlsplit(self._source.url).scheme == "file":
            self._copy()
            return
        self._take_up()
        tries = slow = 0
        while True:
            started, began = time.monotonic(), self._arrival.size if self._arrival else 0
            try:
                self._receive()
                return
            except _Changed:
                self._discard()
            except DownloadFailed as error:
                if not error.diagnostic.retryable:
                    raise
                done = self._arrival.size if self._arrival else 0
                # One that brought less than a slow server may: again and again, it would go on for ever.
                took_s = time.monotonic() - started
                if done > self._most + self._limits.least_rate * took_s:
                    tries = slow = 0
                else:
                    # What was too slow for so long is not tried as often as what fails at once.
                    received = done - began if done >= began else done  # a server may begin again
                    too_slow = took_s >= self._limits.window_s and received < self._limits.least_rate * took_s
                    tries, slow = tries + 1, slow + too_slow
                self._most = max(self._most, done)
                if tries > len(self._limits.retry_delays_s) or slow >= _MOST_SLOW:
                    raise
                _log.info("%s; once more", error)
                self._cancel.wait(self._limits.retry_delays_s[tries - 1] if tries else _PAUSE_S)

    def _receive(self) -> None:
        """One request, for everything or for what is missing."""
        source = self._source
        offset = self._arrival.size if self._arrival else 0
        headers = {"Cache-Control": "no-cache"} if self._fresh else {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self._served and self._served.validator:
                headers["If-Range"] = self._served.validator
        with asked(
            source.url, cancel=self._cancel, headers=headers, secret=source.headers or None, limits=self._limits
        ) as answer:
            if answer.status in (401, 403) and source.renew is not None:
                renewed = source.renew()
                # Nothing else of it: what the file must be is for who asked for it to say.
                self._source = replace(source, url=renewed.url, headers=renewed.headers)
                raise answer.refusal(source.url).enrich(retryable=True)
            self._begin(answer, offset)
            self._store(answer)

    def _begin(self, answer: Answer, offset: int) -> None:
        """Get ready for the body. Raises: `_Changed`, `image::download_failed`, `host::disk_full`."""
        if answer.status == 206 and offset:
            self._require_same(answer, offset)
            self._require_space()
            return
        if answer.status == 416 and offset:
            raise _Changed
        if answer.status != 200:
            raise answer.refusal(self._source.url)
        if (encoding := _encoding(answer)) not in _ENCODINGS:
            raise DownloadFailed(
                "the server sent {url} with a content encoding that was not requested",
                {"url": redacted(self._source.url)},
                evidence=(Evidence("http", "answer", (f"Content-Encoding: {encoding[:100]}",)),),
            )
        length = answer.headers.get("Content-Length")
        if length is not None and not _is_number(length):
            raise DownloadFailed(
                "the server sent an invalid length for {url}",
                {"url": redacted(self._source.url)},
                evidence=(Evidence("http", "answer", (f"Content-Length: {length[:100]}",)),),
            )
        # From the beginning: it is the first request, or the file has changed, or the server knows no ranges.
        self._discard()
        self._served = _Served.of(self._source.url, answer)
        expected, size = self._source.size_bytes, self._served.size
        if expected is not None and size is not None and size != expected:
            raise self._wrong_size(size, expected)
        self._require_space()
        write_atomically(self._notes, json.dumps(vars(self._served)).encode())
        self._start_arrival()

    def _require_same(self, answer: Answer, offset: int) -> None:
        """Some servers send a range whatever If-Range says."""
        served = self._served
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        etag = answer.headers.get("ETag")
        if served is None or found is None or int(found[1]) != offset:
            raise _Changed
        if found[2] != "*" and served.size is not None and int(found[2]) != served.size:
            raise _Changed
        if served.etag and etag and etag != served.etag:
            raise _Changed

    def _store(self, answer: Answer) -> None:
        assert self._arrival is not None
        size = self._size()
        with self._open_part() as file, closing(answer.chunks()) as chunks:
            for chunk in chunks:
                self._keep(file, chunk)
                self._progress(self._arrival.size, size)
                self._cancel.raise_if_cancelled()
                if size is not None and self._arrival.size > size:
                    raise self._wrong_size(self._arrival.size, size)
        if size is not None and self._arrival.size < size:
            # Its Content-Length was right for this answer, and yet it is not all of the file.
            raise DownloadFailed(
                "{url} ended early: {received} of {size} bytes",
                {"url": redacted(self._source.url), "received": self._arrival.size, "size": size},
                retryable=True,
            )

    def _copy(self) -> None:
        """A file of this host."""
        path = local_path(self._source.url)
        self._discard()
        with os_errors(path), open_image(path) as original:
            self._served = _Served(_hashed(self._source.url), size=os.fstat(original.fileno()).st_size)
            self._require_space()
            self._start_arrival()
            assert self._arrival is not None
            with os_errors(self._part), self._open_part() as file:
                while chunk := original.read(_READ_BYTES):
                    self._keep(file, chunk)
                    self._progress(self._arrival.size, self._served.size)
                    self._cancel.raise_if_cancelled()

    def _keep(self, file: FileIO, chunk: bytes) -> None:
        assert self._arrival is not None
        self._arrival.add(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]

    def _take_up(self) -> None:
        """Go on from what an earlier process left, as far as it can be told to be of the same file."""
        if self._arrival is not None or self._fresh:
            return
        try:
            self._served = _Served(**_fields(self._notes))
            size = self._part.stat().st_size
        except (OSError, ValueError, TypeError):
            self._discard()
            return
        known = self._served.validator or self._source.digests
        # Never all of it: a request for nothing would be refused, and say nothing about the file.
        size = min(size, (self._served.size or size) - 1)
        if self._served.url != _hashed(self._source.url) or not known or size <= 0:
            self._discard()
            return
        _log.info("going on from byte %d of %s", size, redacted(self._source.url))
        os.truncate(self._part, size)
        self._start_arrival()
        self._read_again(size)

    def _read_again(self, size: int) -> None:
        """Hash and decompress what is there already."""
        assert self._arrival is not None
        with self._part.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                self._cancel.raise_if_cancelled()
                self._arrival.add(chunk)
        self._most = size

    def _start_arrival(self) -> None:
        self._end_arrival()
        encoded = self._served is not None and self._served.encoded
        self._arrival = Arrival(
            redacted(self._source.url),
            self._expanded,
            self._algorithms,
            encoded=encoded,
            limit_bytes=self._limit_bytes,
        )

    def _end_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.abandon()
            self._arrival = None

    def _open_part(self) -> FileIO:
        return open(self._part, "ab", buffering=0, opener=private)

    def _discard(self) -> None:
        self._end_arrival()
        self._served = None
        with os_errors(self._into):
            for path in (self._part, self._expanded, self._notes):
                path.unlink(missing_ok=True)

    def _appear(self, fetched: Fetched) -> None:
        whole = self._expanded if fetched.compression else self._part
        # On the disk before it has its name: nobody checks it again.
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.rename(self._into)
        sync_directory(self._into.parent)
        for path in (self._part, self._expanded, self._notes):
            path.unlink(missing_ok=True)

    def _size(self) -> int | None:
        size = self._served.size if self._served else None
        return size if size is not None else self._source.size_bytes

    def _require_space(self) -> None:
        """Raises: `image::too_large`, `host::disk_full`."""
        size = self._size()
        if size is not None and size > self._limit_bytes:
            raise too_large(redacted(self._source.url), size, self._limit_bytes)
        missing = (size or 0) - (self._arrival.size if self._arrival else 0)
        require_spare(self._into.parent, redacted(self._source.url), missing)

    def _wrong_size(self, size: int, expected: int) -> VmError:
        return DownloadFailed(
            "{url} has {size} bytes, not {expected}",
            {"url": redacted(self._source.url), "size": size, "expected": expected},
        )

    def _mismatch(self, expected: str, found: set[str]) -> ChecksumMismatch:
        algorithm = expected.partition(":")[0]
        actual = next(digest for digest in found if digest.startswith(f"{algorithm}:"))
        return ChecksumMismatch(
            "{url} has the checksum {actual}, not {expected}",
            {"url": redacted(self._source.url), "actual": actual, "expected": expected},
        )


def local_path(url: str) -> Path:
    """The path that a file URL names. Source: RFC 8089."""
    return Path(unquote(urlsplit(url).path))


def _fields(notes: Path) -> dict[str, Any]:
    """Raises: `OSError`, `ValueError`."""
    with notes.open("rb") as file:
        found = parse(file.read(_NOTES_BYTES + 1), most_bytes=_NOTES_BYTES)
    return found if isinstance(found, dict) else {}


def _is_number(text: str) -> bool:
    # Whoever says more would be asked for more than any disk holds.
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _encoding(answer: Answer) -> str:
    return answer.headers.get("Content-Encoding", "").strip().lower()


def _hashed(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _is_old(modified: str | None, date: str | None) -> bool:
    """Whether a time of change is so long ago that a second change would show. Source: RFC 9110, section 8.8.2.2."""
    with suppress(TypeError, ValueError):
        if modified and date:
            return (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= 1
    return False
