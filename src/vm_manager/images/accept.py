"""Which files may serve as a base image. What they are is read from the files, never taken from their names."""

from __future__ import annotations

from pathlib import Path

from vm_manager.diagnostics.errors import ImageRefused
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.host.qemu_img import image_info

_HEAD_BYTES = 128 * 1024
# Where a raw disk says that it is one. Sources: the UEFI specification (MBR, GPT), libblkid's superblocks, ECMA-119.
_SIGNATURES = (
    (510, b"\x55\xaa"),  # boot sector or MBR
    (512, b"EFI PART"),
    (1080, b"\x53\xef"),  # ext2, ext3, ext4
    (0, b"XFSB"),
    (65600, b"_BHRfS_M"),  # Btrfs
    (0, b"hsqs"),  # SquashFS
    (0, b"LUKS\xba\xbe"),
    (536, b"LVM2 001"),
    (32769, b"CD001"),  # ISO 9660
)


def require_acceptable(path: Path) -> None:
    """Make sure that a file can be the base of a disk.

    Refused are images that name another file, which could be any of this host's, and files that are "raw" only because
    qemu-img knows no other name for them, such as an HTML page.
    Raises: `image::refused`, `image::format_detection_failed`.
    """
    info = image_info(path)
    if info.depends_on is not None:
        raise ImageRefused(
            "the image {path} depends on another file, {other}",
            {"path": str(path), "other": info.depends_on},
            help=(f"make a whole image of it: `qemu-img convert -O qcow2 '{path}' whole.qcow2`",),
        )
    if info.format == "raw" and not _is_disk(path):
        raise ImageRefused("the file {path} has no partition table, boot sector or file system", {"path": str(path)})


def _is_disk(path: Path) -> bool:
    with os_errors(path), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return not head.strip(b"\0") or any(head.startswith(mark, at) for at, mark in _SIGNATURES)
