"""What a VM has before it runs: its disks, and what tells it from other VMs."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.backends.qemu.drive_sizes import drive_sizes
from vm_manager.backends.qemu.firmware import find_firmware
from vm_manager.backends.qemu.section import QemuData
from vm_manager.diagnostics.errors import BaseChanged, IoFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import ROOT_DISK, UEFI_VARIABLES, BaseImage, InstanceRecord
from vm_manager.domain.spec import Drive, Firmware, VmSpec
from vm_manager.host.image_header import QCOW2
from vm_manager.host.landlock import FileId
from vm_manager.host.qemu_img import convert, create_disk, create_overlay, grow_disk, image_info, require_format
from vm_manager.state.files import make_dir, private
from vm_manager.state.layout import InstanceFiles


def prepare_disks(spec: VmSpec, base: BaseImage, files: InstanceFiles) -> None:
    """Make the root disk, and the drives that are not there yet.

    Raises: `image::format_detection_failed`, `image::overlay_creation_failed`, `host::disk_full`.
    """
    create_overlay(files.overlay, Path(base.path), spec.disk_bytes, base.format)
    with os_errors(files.overlay):
        files.overlay.chmod(0o600)
    settle_firmware(spec, files)
    for drive in spec.drives:
        if not files.drive(drive.name).exists():
            _make_drive(drive, files)


def prepare_copies(spec: VmSpec, base: BaseImage, files: InstanceFiles, there: InstanceFiles) -> None:
    """Make the disks for a machine that comes here from another directory, as large as they are there.

    Those that the guest has no more, and whose content nothing mirrors, come with it as they are.
    Raises: as `prepare_disks`; `io`.
    """
    sizes = drive_sizes(there)
    for drive in spec.drives:
        _make_drive(replace(drive, size_bytes=sizes.get(drive.name, drive.size_bytes)), files)
    for path in detached_disks(spec, there).values():
        target = files.home / path.relative_to(there.home)
        make_dir(target.parent)
        with os_errors(target):
            _link_or_copy(path, target)
    prepare_disks(spec, base, files)


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
            raise
        with path.open("rb") as source, open(target, "xb", opener=private) as copy:
            shutil.copyfileobj(source, copy)


def settle_firmware(spec: VmSpec, files: InstanceFiles) -> None:
    """Give a machine that starts with UEFI a variable store of its own, unless it has one.

    Raises: `host::missing_firmware`, `image::conversion_failed`, `host::disk_full`.
    """
    if spec.firmware is Firmware.UEFI and not files.efi_variables.exists():
        convert(find_firmware(spec.arch).variables, files.efi_variables, format=QCOW2, compress=False)


def settle_drives(spec: VmSpec, made: Collection[str], files: InstanceFiles) -> None:
    """Give a machine that is off the drives of its spec: those that are new, and more space where they shall have more.

    made: the names of those that it had at its last start: one of them that is gone is not made anew, as if it had been empty.
    Raises: `image::format_detection_failed`, `image::overlay_creation_failed`, `host::disk_full`; `io` for that.
    """
    for drive in spec.drives:
        path = files.drive(drive.name)
        if path.exists():
            grow_disk(path, drive.size_bytes)
        elif drive.name in made:
            raise _gone(spec, drive, path)
        else:
            _make_drive(drive, files)


def _make_drive(drive: Drive, files: InstanceFiles) -> None:
    make_dir(files.drives)
    create_disk(files.drive(drive.name), drive.size_bytes)


def _gone(spec: VmSpec, drive: Drive, path: Path) -> IoFailed:
    return IoFailed(
        "the drive '{drive}' of VM '{vm}' is missing: {path}",
        {"drive": drive.name, "vm": spec.name, "path": str(path)},
        help=(
            "put the file back if it was moved",
            f'if it is gone, so is what was on it: another name starts empty, `drive "{drive.name}-2" …` in the VMFile',
        ),
    )


def require_root_disk(record: InstanceRecord, files: InstanceFiles) -> None:
    """Make sure that the root disk is where it was made, before QEMU is asked. Raises: `vm_manager::io`."""
    if os.path.lexists(files.overlay):
        return
    raise IoFailed(
        "the disk of VM '{vm}' is missing: {path}",
        {"vm": record.name, "path": str(files.overlay)},
        help=("put the file back if it was moved", f"if it is gone, so is what was on it: {_anew(record)}"),
    )


def _anew(record: InstanceRecord) -> str:
    if not os.path.isabs(record.origin):
        return "remove the VM and create it again"
    return f"make a new disk with `vmctl reload --file {shlex.quote(record.origin)} {record.name}`"


@dataclass(frozen=True)
class BaseDisk:
    """The image below the root disk, as QEMU is told of it. path: absolute. format: raw or qcow2.

    file: its device and inode; what takes its place is another one.
    """

    path: str
    format: str
    file: FileId | None = None


def base_disk(base: BaseImage) -> BaseDisk:
    """What is below the root disk, once more seen to be the same and to refer to no other file.

    Raises: `image::base_changed`, `image::refused`, `image::format_detection_failed`, `io`.
    """
    path = Path(base.path)
    with os_errors(path):
        status = path.stat()
    if not base.looks_like(status):
        raise BaseChanged("the image {path} is not the image that the disk was created from", {"path": base.path})
    info = image_info(path)
    require_format(path, info, base.format)
    return BaseDisk(str(path.absolute()), info.format, (status.st_dev, status.st_ino))


def writable_disks(spec: VmSpec, files: InstanceFiles) -> dict[str, Path]:
    """The disks that the guest writes to, by what people call them; the root disk first."""
    variables = {UEFI_VARIABLES: files.efi_variables} if spec.firmware is Firmware.UEFI else {}
    drives = {f"drive '{drive.name}'": files.drive(drive.name) for drive in spec.drives}
    return {ROOT_DISK: files.overlay, **variables, **drives}


def detached_disks(spec: VmSpec, files: InstanceFiles) -> dict[str, Path]:
    """The disks that the guest wrote to before its VMFile left them out, by what people call them. Raises: `io`."""
    with os_errors(files.home):
        variables = {UEFI_VARIABLES: files.efi_variables} if files.efi_variables.exists() else {}
        drives = {f"drive '{path.stem}'": path for path in sorted(files.drives.glob("*.qcow2"))}
    attached = writable_disks(spec, files)
    return {name: path for name, path in {**variables, **drives}.items() if name not in attached}


def new_identity() -> QemuData:
    """A UUID and a MAC address that no other VM has."""
    # 52:54:00 is QEMU's own prefix: locally administered, unicast.
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    return QemuData(uuid=str(uuid.uuid4()), mac=mac)
