"""What a disk image is, read from its first bytes by vmctl itself.

QEMU and qemu-img open what an image names before they say what it is, and guess its format from bytes that whoever made it
has chosen. So no image is handed to them that has not been looked at here.
Sources: QEMU's docs/interop/qcow2.txt, and the probes of its block drivers (block/*.c, versions 7.2 to 10).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vm_manager.diagnostics.errors import FormatDetectionFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.host.regular_file import open_image

RAW, QCOW2 = "raw", "qcow2"
_VMDK = "vmdk"
#: What is converted into qcow2, as far as it is one file.
CONVERTIBLE = (_VMDK, "vdi", "vhdx")

_SECTOR_BYTES = 512
# The largest cluster of a qcow2 image; its header and what the header points to by offset are in the first one.
_HEAD_BYTES = 2 * 1024 * 1024
_MAGIC = b"QFI\xfb"
_SPARSE_VMDK = b"KDMV"
# By place and bytes. What is none of them is raw.
_MARKS = (
    (0, b"QFI\xfb\0\0\0\x01", "qcow"),
    (0, _MAGIC, QCOW2),
    (0, _SPARSE_VMDK, _VMDK),
    (0, b"COWD", _VMDK),
    (0, b"# Disk DescriptorFile", _VMDK),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (0, b"QED\0", "qed"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "cloop"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
# A VMDK may be a text that names its parts, behind any number of comments and empty lines.
_VMDK_TEXT = re.compile(rb"(?:#[^\n]*+\n|[ \t]*+\r?\n)*+version=[0-9]++\r?\n")
_VMDK_CAPACITY = slice(12, 20)
# An Apple disk image is known by its last 512 bytes only.
_DMG_TRAILER = b"koly"

_V2, _V3 = struct.Struct(">4sIQIIQIIQQIIQ"), struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_EXTERNAL_DATA_FILE = 1 << 2
_KNOWN_FEATURES = (1 << 5) - 1
_DATA_FILE_NAME = 0x44415441
_LONGEST_NAME = 1023


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image say.

    format: as QEMU calls it; raw is what has the mark of no other. size_bytes: of the file. virtual_size_bytes: of the disk
    that a guest sees, None for formats that vmctl does not read itself.
    backing: the name of the file below it; data_file: that of the file that has its data, empty when it is not named,
    a word for it in a VMDK, whose texts are not read.
    encrypted: whether a secret is needed to read it.
    """

    format: str
    size_bytes: int
    virtual_size_bytes: int | None = None
    backing: str | None = None
    data_file: str | None = None
    encrypted: bool = False

    @property
    def depends_on(self) -> str | None:
        """Another file that it refers to."""
        return self.backing if self.backing is not None else self.data_file


def read_header(path: Path) -> ImageHeader:
    """The header of an image, which is a regular file. Nothing else is opened.

    Raises: `image::format_detection_failed` for one that contradicts itself, `image::refused` for what is no regular file.
    """
    with os_errors(path), open_image(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, size - _SECTOR_BYTES))
        tail = file.read(_SECTOR_BYTES)
    format = _format(head, tail)
    if format == QCOW2:
        return _Qcow2(path, head).header(size)
    if format == _VMDK:
        return ImageHeader(format, size, data_file=None if _has_its_data(head) else "one of its extents")
    virtual = -(-size // _SECTOR_BYTES) * _SECTOR_BYTES if format == RAW else None
    return ImageHeader(format, size, virtual)


def _has_its_data(vmdk: bytes) -> bool:
    """Whether a VMDK is one file: a sparse one with a capacity; without, QEMU goes by the names of files in its text."""
    return vmdk.startswith(_SPARSE_VMDK) and any(vmdk[_VMDK_CAPACITY])


def _format(head: bytes, tail: bytes) -> str:
    found = next((format for at, mark, format in _MARKS if head.startswith(mark, at)), None)
    if found:
        return found
    if _VMDK_TEXT.match(head):
        return _VMDK
    return "dmg" if tail.startswith(_DMG_TRAILER) else RAW


class _Qcow2:
    """One qcow2 header; only what is known to be well-formed is believed."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._path, self._head = path, head

    def header(self, size_bytes: int) -> ImageHeader:
        if len(self._head) < _V2.size:
            self._damaged("it is truncated")
        _, version, backing_at, backing_length, cluster_bits, virtual, encryption, *_ = _V2.unpack_from(self._head)
        if version not in (2, 3):
            self._damaged(f"its version is {version}")
        if not 9 <= cluster_bits <= 21:
            self._damaged(f"its clusters have 2^{cluster_bits} bytes")
        if virtual >= 1 << 63:
            self._damaged(f"its disk has {virtual} bytes")
        cluster = self._head[: 1 << cluster_bits]
        features, length = self._third_version(cluster) if version == 3 else (0, _V2.size)
        extensions = dict(self._extensions(cluster[: backing_at or None], length))
        return ImageHeader(
            QCOW2,
            size_bytes,
            virtual,
            self._name(cluster, backing_at, backing_length),
            self._data_file(features, extensions),
            encrypted=encryption != 0,
        )

    def _third_version(self, cluster: bytes) -> tuple[int, int]:
        """The features that whoever opens it must know, and the header's length."""
        if len(cluster) < _V2.size + _V3.size:
            self._damaged("it is truncated")
        features, _, _, _, length = _V3.unpack_from(cluster, _V2.size)
        if length < _V2.size + _V3.size or length % 8 or length > len(cluster):
            self._damaged(f"it claims to have {length} bytes")
        if features & ~_KNOWN_FEATURES:
            self._damaged(f"it needs features that no QEMU has: {features & ~_KNOWN_FEATURES:#x}")
        return features, length

    def _extensions(self, cluster: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + _EXTENSION.size <= len(cluster):
            kind, length = _EXTENSION.unpack_from(cluster, at)
            at += _EXTENSION.size
            if kind == 0:
                return
            if length > len(cluster) - at:
                self._damaged(f"an extension claims to have {length} bytes")
            yield kind, cluster[at : at + length]
            at += -(-length // 8) * 8

    def _name(self, cluster: bytes, at: int, length: int) -> str | None:
        """The name of the backing file, which is within the first cluster."""
        if not at and not length:
            return None
        if length > _LONGEST_NAME or at + length > len(cluster):
            self._damaged(f"the name of its backing file claims to have {length} bytes from byte {at} on")
        return os.fsdecode(cluster[at : at + length].split(b"\0")[0])

    def _data_file(self, features: int, extensions: dict[int, bytes]) -> str | None:
        if not features & _EXTERNAL_DATA_FILE and _DATA_FILE_NAME not in extensions:
            return None
        return os.fsdecode(extensions.get(_DATA_FILE_NAME, b"").split(b"\0")[0])

    def _damaged(self, how: str) -> NoReturn:
        raise FormatDetectionFailed(
            "the qcow2 header of {path} is damaged",
            {"path": str(self._path)},
            evidence=(Evidence("probe", "the header", (how,)),),
        )
