"""Compressed images, decompressed while they arrive. What a file is compressed with is read from it, not from its name."""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from vm_manager.diagnostics.errors import FormatDetectionFailed

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

#: So many bytes tell whether a file is compressed.
MAGIC_BYTES = 6
_OUTPUT_BYTES = 256 * 1024
# pzstd, bgzip and others write one stream for each piece of a file, of 64 KiB and more. An empty one has 8 bytes and takes as
# much time as some KiB of data: a few MiB of them would take minutes. That many may be small; if there are more, they have at
# least so many bytes on average.
_MOST_SMALL_STREAMS = 1000
_LEAST_STREAM_BYTES = 1024
# Of what came before, that the rest is built from. xz -9 needs 65 MiB, zstd --ultra -22 and --long 128 MiB; a file that demands
# more is meant to exhaust the host. Source: `xz --help`, and ZSTD_WINDOWLOG_LIMIT_DEFAULT in zstd.h.
_XZ_MEMORY_BYTES = 128 * 1024**2
_ZSTD_WINDOW_LOG = 27
# What the libraries say when it is too much: neither has an error of its own for that.
_TOO_MUCH = ("Memory usage limit", "too much memory")
_RUINED = (lzma.LZMAError, zlib.error, ZstdError, EOFError, MemoryError)


class _Decompressor(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor, whose interface is older than the others'."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # Full to the brim, there may be more to come without any more input.
        self.needs_input = not self._zlib.unconsumed_tail and len(output) < max_length
        return output


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


def _zstd() -> _Decompressor:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


# Sources: RFC 8878, the .xz file format, RFC 1952.
_KINDS: tuple[tuple[bytes, str, Callable[[], _Decompressor]], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"\xfd7zXZ\0", "xz", _xz),
    (b"\x1f\x8b", "gzip", _Gzip),
)


class Expander:
    """Decompresses a file piece by piece, in constant memory; several streams behind each other are one file."""

    def __init__(self, kind: str, make: Callable[[], _Decompressor]) -> None:
        self.kind = kind
        self._make, self._stream, self._begun = make, make(), False
        self._streams = self._output_bytes = 0

    def expand(self, data: bytes) -> Iterator[bytes]:
        """What the next piece of the file becomes, in pieces of at most 256 KiB.

        Raises: `image::format_detection_failed` when it is damaged, or takes too much memory or time to decompress.
        """
        while True:
            if not self._begun:
                # Between streams there may be padding: zeros, in all of the three.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._begun = True
            try:
                output = self._stream.decompress(data, _OUTPUT_BYTES)
            except _RUINED as error:
                raise self._failure(error) from error
            if output:
                self._output_bytes += len(output)
                yield output
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data
                self._begin_next()
            elif self._stream.needs_input:
                return

    def _begin_next(self) -> None:
        self._streams += 1
        if self._streams > max(_MOST_SMALL_STREAMS, self._output_bytes // _LEAST_STREAM_BYTES):
            raise FormatDetectionFailed(
                "the {kind} file consists of too many small streams: {streams} in its first {bytes} bytes",
                {"kind": self.kind, "streams": self._streams, "bytes": self._output_bytes},
                help=(_DECOMPRESS,),
            )
        self._stream, self._begun = self._make(), False

    def _failure(self, error: Exception) -> FormatDetectionFailed:
        if any(words in str(error) for words in _TOO_MUCH):
            return FormatDetectionFailed(
                "the {kind} file needs more than 128 MiB of memory to decompress",
                {"kind": self.kind},
                help=(_DECOMPRESS,),
            )
        return FormatDetectionFailed("the {kind} file is damaged", {"kind": self.kind}, help=(_FETCH_ANEW,))

    def finish(self) -> None:
        """The file has ended. Raises: `image::format_detection_failed` when it was cut off."""
        if self._begun:
            raise FormatDetectionFailed("the {kind} file is truncated", {"kind": self.kind}, help=(_FETCH_ANEW,))


_DECOMPRESS = "if you trust it, decompress it yourself and use the resulting file"
_FETCH_ANEW = "run the command again; if it fails again, the file is damaged at its source"


def expander_for(head: bytes) -> Expander | None:
    """What decompresses a file that begins so, or None when it is not compressed."""
    return next((Expander(kind, make) for magic, kind, make in _KINDS if head.startswith(magic)), None)
