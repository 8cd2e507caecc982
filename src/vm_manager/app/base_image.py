"""The image below a VM's disk, when the VM is about to run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vm_manager.diagnostics.errors import BaseChanged, BaseMissing, FormatDetectionFailed, ImageRefused
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.host.qemu_img import damage, image_info, require_format


def require_base(record: InstanceRecord) -> BaseImage:
    """Make sure that the image below a VM's disk is the one it was made on: on another one the disk would be garbage.

    Returns it with the inode and the time that were found sound, for the record: a copy is checked once.
    Raises: `image::base_missing`, `image::base_changed`; `image::format_detection_failed` when that cannot be found out.
    """
    base = record.base_image
    try:
        status = Path(base.path).stat()
    except FileNotFoundError as error:
        raise BaseMissing("the image {path} no longer exists", {"path": base.path}) from error
    except OSError as error:
        raise diagnosed(error, base.path) from error
    if not base.looks_like(status):
        raise _changed(base)
    if base.format is None:
        return base
    _look_again(base, moved=(status.st_ino, status.st_ctime_ns) != (base.inode, base.ctime_ns))
    return replace(base, inode=status.st_ino, ctime_ns=status.st_ctime_ns)


def _look_again(base: BaseImage, *, moved: bool) -> None:
    """Its size and the time of its last change can be made to look the same; what it says of itself is read every time.

    moved: whether it may be another file, or have been written to; a copy, a new link or other permissions look like that, too.
    """
    path = Path(base.path)
    try:
        require_format(path, image_info(path), base.format)
    except (ImageRefused, FormatDetectionFailed) as error:
        raise _changed(base) from error
    if moved and (shown := damage(path, base.format or "")) is not None:
        raise _changed(base).enrich(evidence=(shown,))


def _changed(base: BaseImage) -> BaseChanged:
    return BaseChanged("the image {path} is not the image that the disk was created from", {"path": base.path})
