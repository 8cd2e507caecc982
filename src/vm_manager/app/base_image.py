"""The image below a VM's disk, when the VM is about to run again."""

from __future__ import annotations

from pathlib import Path

from vm_manager.diagnostics.errors import BaseChanged, BaseMissing
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.domain.instance import InstanceRecord


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
        raise BaseChanged("the image {path} is not the one that the disk was made on", {"path": base.path})
