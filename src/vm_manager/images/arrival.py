"""What is done with a file while it arrives: hashed, and decompressed when it is compressed, each in a thread beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import BinaryIO

from vm_manager.diagnostics.errors import FormatDetectionFailed, ImageRefused
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.file_kinds import is_page
from vm_manager.images.decompress import Expander, expander_for
from vm_manager.images.room import Room
from vm_manager.state.files import private

_HEAD_BYTES = 512
_QUEUE_CHUNKS = 8
_ZEROS = bytes(256 * 1024)


class Arrival:
    """A file from its first byte to its last.

    name: of the file, for failures. expanded: where it goes to when it is compressed.
    algorithms: what it is hashed with. encoded: whether the server compressed it for the way only, so that checksums are
    those of what comes out. limit_bytes: how long it may become, decompressed.
    """

    def __init__(
        self, name: str, expanded: Path, algorithms: Iterable[str], *, encoded: bool, limit_bytes: int
    ) -> None:
        self.size = 0
        self._limit_bytes = limit_bytes
        self._room = Room(name, expanded.parent, limit_bytes)
        self._name, self._expanded, self._encoded = name, expanded, encoded
        self._hashes = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
        self._hashing = _Worker(self._hash)
        self._head: bytes | None = b""
        self._expansion: _Expansion | None = None

    @property
    def compression(self) -> str | None:
        """What it is compressed with, as far as has been seen."""
        return self._expansion.kind if self._expansion else None

    def add(self, chunk: bytes) -> None:
        """The next piece.

        Raises: `image::refused` when it is a web page; `image::too_large`, `host::disk_full`; `OSError` when decompressed
        bytes do not fit.
        """
        self.size += len(chunk)
        self._room.take(len(chunk))
        if self._head is None:
            self._pass_on(chunk)
            return
        self._head += chunk
        if len(self._head) >= _HEAD_BYTES:
            self._begin()

    def finish(self) -> tuple[dict[str, str], FormatDetectionFailed | None]:
        """The digests, by algorithm, and what is wrong with the compressed data, if anything.

        This is returned and not raised, for a checksum that is wrong, too, is the better reason.
        Raises: `image::refused`, `image::too_large`, `host::disk_full`; `OSError` when decompressed bytes do not fit.
        """
        if self._head is not None:
            self._begin()
        damage = self._expansion.finish() if self._expansion else None
        self._hashing.finish()
        return {name: hashed.hexdigest() for name, hashed in self._hashes.items()}, damage

    def abandon(self) -> None:
        """End the threads; what has arrived is of no use. Idempotent, and nothing after `finish`."""
        if self._expansion:
            self._expansion.abandon()
        self._hashing.abandon()

    def _begin(self) -> None:
        head, self._head = self._head or b"", None
        if is_page(head):
            raise ImageRefused(
                "{name} is a web page, not a disk image",
                {"name": self._name},
                help=("check the URL: open it in a browser, and copy the download link of the image",),
                evidence=(Evidence("http", "start of the page", _lines(head), truncated=True),),
            )
        if expander := expander_for(head):
            room = Room(self._name, self._expanded.parent, self._limit_bytes)
            self._expansion = _Expansion(expander, self._expanded, room, self._hashing.put if self._encoded else None)
        self._pass_on(head)

    def _pass_on(self, chunk: bytes) -> None:
        if self._expansion:
            self._expansion.add(chunk)
        if not (self._expansion and self._encoded):
            self._hashing.put(chunk)

    def _hash(self, chunk: bytes) -> None:
        for hashed in self._hashes.values():
            hashed.update(chunk)


class _Expansion:
    """Decompresses in a thread, into a file that another one writes; blocks of zeros become holes."""

    def __init__(self, expander: Expander, path: Path, room: Room, also: Callable[[bytes], None] | None) -> None:
        self._room = room
        self.kind, self._expander, self._also = expander.kind, expander, also
        path.unlink(missing_ok=True)
        self._file: BinaryIO = open(path, "xb", buffering=0, opener=private)  # noqa: SIM115
        self._writing, self._expanding = _Worker(self._write), _Worker(self._expand)
        self._damage: FormatDetectionFailed | None = None

    def add(self, chunk: bytes) -> None:
        self._expanding.put(chunk)

    def finish(self) -> FormatDetectionFailed | None:
        try:
            self._expanding.finish()
            self._writing.finish()
            with self._file:
                self._file.truncate()  # the last block may be a hole
        finally:
            self._file.close()
        if self._damage is None:
            try:
                self._expander.finish()
            except FormatDetectionFailed as error:
                self._damage = error
        return self._damage

    def abandon(self) -> None:
        # The writer last: the other may be waiting for it.
        self._expanding.abandon()
        self._writing.abandon()
        self._file.close()

    def _expand(self, chunk: bytes) -> None:
        if self._damage is not None:
            return
        try:
            for output in self._expander.expand(chunk):
                self._writing.put(output)
        except FormatDetectionFailed as error:
            self._damage = error

    def _write(self, output: bytes) -> None:
        self._room.take(len(output))
        if output == _ZEROS:
            self._file.seek(len(output), 1)
        else:
            rest = memoryview(output)
            while rest:
                rest = rest[self._file.write(rest) :]
        if self._also:
            self._also(output)


class _Worker:
    """Does something with each chunk, in order, in a thread of its own; few chunks wait at a time."""

    def __init__(self, work: Callable[[bytes], None]) -> None:
        self._work, self._chunks = work, Queue[bytes | None](_QUEUE_CHUNKS)
        self._failure: BaseException | None = None
        self._given_up = False
        self._thread = Thread(target=self._run, name="image", daemon=True)
        self._thread.start()

    def put(self, chunk: bytes) -> None:
        """Hand it a chunk. Raises: what its work has raised."""
        self._chunks.put(chunk)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Wait until all is done. Raises: what its work has raised."""
        self._chunks.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """End without doing the rest. Idempotent."""
        self._given_up = True
        with suppress(Full):
            self._chunks.put_nowait(None)
        self._thread.join()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None and not self._given_up:
            if self._failure is None:
                try:
                    self._work(chunk)
                except BaseException as error:  # raised again by whoever hands on the next chunk
                    self._failure = error


def _lines(head: bytes) -> tuple[str, ...]:
    text = head.decode(errors="replace")
    return tuple(line.strip()[:120] for line in text.splitlines() if line.strip())[:4]
