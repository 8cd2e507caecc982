"""The image below a VM's disk, when the VM is about to run again."""

from __future__ import annotations

from pathlib import Path

from vm_manager.diagnostics.errors import BaseChanged, BaseMissing, ImageError
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.host.qemu_img import image_info, require_format, require_sound


def require_base(record: InstanceRecord) -> None:
    """Make sure that the image below a VM's disk is the one it was made on: on another one the disk would be garbage.

    Raises: `image::base_missing`, `image::base_changed`.
    """
    base = record.base_image
    try:
        status = Path(base.path).stat()
    except FileNotFoundError as error:
        raise BaseMissing("the image {path} is gone", {"path": base.path}) from error
    except OSError as error:
        raise diagnosed(error, base.path) from error
    if (status.st_size, status.st_mtime_ns) != (base.size_bytes, base.mtime_ns):
        raise _changed(base)
    if base.format is not None:
        _look_again(base, moved=(status.st_ino, status.st_ctime_ns) != (base.inode, base.ctime_ns))


def _look_again(base: BaseImage, *, moved: bool) -> None:
    """Its size and the time of its last change can be made to look the same; what it says of itself is read every time.

    moved: whether it may be another file, or have been written to; a copy, a new link or other permissions look like that, too.
    """
    path = Path(base.path)
    try:
        require_format(path, image_info(path), base.format)
        if moved:
            require_sound(path, base.format or "")
    except ImageError as error:
        raise _changed(base) from error


def _changed(base: BaseImage) -> BaseChanged:
    return BaseChanged("the image {path} is not the one that the disk was made on", {"path": base.path})
