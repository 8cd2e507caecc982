"""Which files may serve as a base image. What they are is read from the files, never taken from their names."""

from __future__ import annotations

import os
from pathlib import Path

from vm_manager.diagnostics.errors import ImageRefused
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.file_kinds import HEAD_BYTES, no_disk
from vm_manager.domain.image import SizeLimits
from vm_manager.host.disk_space import require_spare, spare_bytes
from vm_manager.host.image_header import QCOW2, RAW
from vm_manager.host.qemu_img import FileTooLong, ImageInfo, convert, foreign_size, image_info, require_whole
from vm_manager.host.regular_file import open_image
from vm_manager.images.room import too_large
from vm_manager.state.files import written_bytes

_DECRYPT = (
    "use an image that is not encrypted: with the passphrase, qemu-img convert makes one "
    "(its manual shows how, under --object secret and --image-opts)"
)


def make_runnable(path: Path, sizes: SizeLimits, cancel: CancelToken) -> str | None:
    """Convert an image into qcow2, in its place, if it is in another format that can be; which one that was.

    Raises: `image::refused`, `image::too_large`, `image::format_detection_failed`, `image::conversion_failed`,
    `host::disk_full`, `vmctl::interrupted`.
    """
    foreign = foreign_size(path)
    if foreign is None:
        return None
    format, size = foreign
    _require_size(path, size, sizes)
    converted = path.with_name(f"{path.name}.{QCOW2}")
    with os_errors(path):
        require_spare(path.parent, str(path), written_bytes(path))
        spare = spare_bytes(path.parent)
    most = min(sizes.file_bytes, spare)
    try:
        convert(path, converted, format=QCOW2, compress=False, most_bytes=most, cancel=cancel)
    except FileTooLong as error:
        if most < sizes.file_bytes:
            with os_errors(path):
                require_spare(path.parent, str(path), spare + 1)
        raise too_large(str(path), None, most) from error
    with os_errors(path):
        with converted.open("rb") as file:
            os.fsync(file.fileno())  # before it has its name: nobody checks it again
        converted.replace(path)
    return format


def require_acceptable(path: Path, sizes: SizeLimits) -> ImageInfo:
    """Make sure that a file can be the base of a disk; what it is.

    Refused are images that name another file, which could be any of this host's, formats that can, and files that are "raw" only
    because they have no mark of another format, such as an HTML page.
    Raises: `image::refused`, `image::too_large`, `image::format_detection_failed`.
    """
    info = image_info(path)
    require_whole(path, info)
    if info.encrypted:
        raise ImageRefused("the image {path} is encrypted", {"path": str(path)}, help=(_DECRYPT,))
    if info.format == RAW:
        require_disk(path)
    _require_size(path, info.virtual_size_bytes, sizes)
    return info


def _require_size(path: Path, size: int, sizes: SizeLimits) -> None:
    if size > sizes.disk_bytes:
        raise too_large(str(path), size, sizes.disk_bytes, "the disk in")


def require_disk(path: Path, *, known_only: bool = False) -> None:
    """Make sure that a raw file is a disk. known_only: let through what is not known to be something else.

    Raises: `image::refused`.
    """
    with open_image(path) as file, os_errors(path):
        found = no_disk(file.read(HEAD_BYTES), path.name, os.fstat(file.fileno()).st_size)
    if found is None or (known_only and not found.known):
        return
    raise ImageRefused(
        "the file {path} is {what}", {"path": str(path), "what": found.what}, help=(found.help_for(path),)
    )
