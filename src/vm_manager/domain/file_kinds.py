"""What a file is that was taken for a disk image: told from its first bytes, never from its name."""

from __future__ import annotations

import bz2
import lzma
import re
import shlex
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: So many bytes tell what a file is.
HEAD_BYTES = 128 * 1024
#: What a picture in PNG format begins with. Source: RFC 2083, section 3.1.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Where a raw disk says that it is one. Sources: the UEFI specification (MBR, GPT), libblkid's superblocks, ECMA-119.
_BOOT_SIGNATURE = (510, b"\x55\xaa")
_ISO = (32769, b"CD001")
_GPT = (512, b"EFI PART")
_DISKS = (
    _BOOT_SIGNATURE,
    _GPT,
    (1080, b"\x53\xef"),  # ext2, ext3, ext4
    (0, b"XFSB"),
    (65600, b"_BHRfS_M"),  # Btrfs
    (0, b"hsqs"),  # SquashFS
    (536, b"LVM2 001"),
)
# A page instead of a disk: the server's own "not found", or a log-in that stands before it.
_PAGE = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_PAGE_BYTES = 4096
_TEXT = re.compile(rb"[\t\n\f\r\x1b -~\x80-\xff]+")
_SECTOR_BYTES, _MOST_PARTITIONS = 512, 128
# Where the entries begin, how many and how long they are; of an entry, its kind and its last sector.
_GPT_ENTRIES, _PARTITION = struct.Struct("<QII"), struct.Struct("<16s24xQ")
# Source: Documentation/arch/x86/boot.rst of Linux.
_KERNEL = (514, b"HdrS")
_TAR = (257, b"ustar")
_NAME_BYTES = 100
_INNER_BYTES = 1024
# What xz -9 needs, and no more than a file may demand.
_XZ_MEMORY_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True)
class NoDisk:
    """What a file is. what: follows "is": "a web page". help: what to do; {path} and {directory} stand for where it is.

    known: whether it is known to be something else, and not only to have no mark of a disk.
    """

    what: str
    help: str
    known: bool = True

    def help_for(self, path: Path) -> str:
        """What to do, with the file's own name."""
        return self.help.format(path=shlex.quote(str(path)), directory=shlex.quote(str(path.parent)))


@dataclass(frozen=True)
class _Packed:
    """A kind of compressed file. suffixes: that its program takes off; expand: its first bytes, as far as that is built in."""

    mark: bytes
    program: str
    suffixes: tuple[str, ...]
    expand: Callable[[bytes], bytes] | None = None


_PACKED = (
    _Packed(b"\x1f\x8b", "gzip", (".gz",), lambda head: zlib.decompressobj(31).decompress(head, _INNER_BYTES)),
    _Packed(b"\xfd7zXZ\0", "xz", (".xz",), lambda head: _xz().decompress(head, _INNER_BYTES)),
    _Packed(b"\x28\xb5\x2f\xfd", "zstd", (".zst", ".zstd")),
    _Packed(b"BZh", "bzip2", (".bz2",), lambda head: bz2.BZ2Decompressor().decompress(head, _INNER_BYTES)),
    _Packed(b"\x04\x22\x4d\x18", "lz4", (".lz4",)),
)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)


_AGAIN = "download the image again, and check that the link leads to the file itself"
_USE = "use a disk image: qcow2, or raw with a partition table or file system"
_UNPACK = "unpack it, and use the disk image in it: `{command}`"
_TAR_HELP = _UNPACK.format(command="tar -xkf {path} -C {directory}")
_KNOWN = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the image itself",
     "fetch the image: `git -C {directory} lfs pull`"),
    (b"PK\x03\x04", "a zip archive", _UNPACK.format(command="unzip -n {path} -d {directory}")),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it with 7z, and use the disk image in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it with unrar, and use the disk image in it"),
    (b"\x7fELF", "a program", _USE),
    (b"%PDF-", "a PDF document", _USE),
)  # fmt: skip


def is_page(head: bytes) -> bool:
    """Whether a file is a web page."""
    return _PAGE.match(head[:_PAGE_BYTES]) is not None


def no_disk(head: bytes, name: str, size_bytes: int) -> NoDisk | None:
    """What a raw file is, if it is no disk, or not all of one. head: its first `HEAD_BYTES`; size_bytes: of all of it."""
    if not head:
        return NoDisk("empty", _AGAIN)
    if not head.strip(b"\0"):
        return None  # a disk that nothing has been written to
    if is_page(head):
        return NoDisk("a web page, not a disk image", _AGAIN)
    if found := _packed(head, name) or _archive(head):
        return found
    if _has(head, _ISO) and not _has(head, _BOOT_SIGNATURE):
        return NoDisk("a CD image (ISO 9660), which does not boot as a disk", _USE)
    if _has(head, _KERNEL):
        return NoDisk("a Linux kernel, not a disk image", _USE)
    if (end := _end_of_partitions(head)) > size_bytes:
        return NoDisk(f"cut off: it has {size_bytes} bytes, and its last partition ends at byte {end}", _AGAIN)
    if any(_has(head, mark) for mark in _DISKS):
        return None
    if found := next((NoDisk(what, help) for mark, what, help in _KNOWN if head.startswith(mark)), None):
        return found
    if _TEXT.fullmatch(head):
        return NoDisk("a text file, not a disk image", _USE, known=False)
    return NoDisk("no disk image: it has no partition table, boot sector or file system", _USE, known=False)


def _packed(head: bytes, name: str) -> NoDisk | None:
    kind = next((kind for kind in _PACKED if head.startswith(kind.mark)), None)
    if kind is None:
        return None
    if kind.expand is not None:
        with suppress(zlib.error, lzma.LZMAError, OSError, EOFError):
            if found := _archive(kind.expand(head)):
                return found
    # Both leave what is there as it is: -dk keeps the file and refuses to write over another.
    command = f"{kind.program} -dk {{path}}"
    if not name.endswith(kind.suffixes):
        command = f"{kind.program} -dc < {{path}} > {{path}}.unpacked"
    return NoDisk(f"compressed with {kind.program}", f"decompress it first: `{command}`")


def _end_of_partitions(head: bytes) -> int:
    """Where the last partition of a GPT ends; 0 without one. Source: the UEFI specification, section 5.3."""
    if not _has(head, _GPT) or len(head) < 2 * _SECTOR_BYTES:
        return 0
    at, count, size = _GPT_ENTRIES.unpack_from(head, _GPT[0] + 72)
    found = head[at * _SECTOR_BYTES :][: min(count, _MOST_PARTITIONS) * size]
    if size < _PARTITION.size:
        return 0
    entries = (_PARTITION.unpack_from(found, start) for start in range(0, len(found) - size + 1, size))
    return max((int(last) + 1 for kind, last in entries if any(kind)), default=0) * _SECTOR_BYTES


def _archive(head: bytes) -> NoDisk | None:
    if not _has(head, _TAR):
        return None
    # An appliance begins with its description. Source: OVF specification, section 5.3.
    if head[:_NAME_BYTES].split(b"\0")[0].endswith(b".ovf"):
        return NoDisk(
            "an OVA appliance, which is an archive", f"{_TAR_HELP}; `vmctl image convert` makes qcow2 of a VMDK"
        )
    return NoDisk("a tar archive", _TAR_HELP)


def _has(head: bytes, mark: tuple[int, bytes]) -> bool:
    return head.startswith(mark[1], mark[0])
