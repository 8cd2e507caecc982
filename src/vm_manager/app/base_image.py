"""The image below a VM's disk: its content decides whether it is the one that the disk was made on.

Its SHA-256 is computed while the VM is made and boots, so that it costs no time. As long as the file's size, times and inode are
those of the record, nobody has to look; when they are not, the content is compared.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import BaseChanged, BaseMissing, FormatDetectionFailed, ImageRefused
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.diagnostics.urls import cut_url
from vm_manager.domain.events import Noticed
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.domain.spec import ImageSource
from vm_manager.host.content import Digesting, content_digest, mark_of
from vm_manager.host.qemu_img import damage, image_info, require_format

# At 400 MB/s, on a slow host, this is 2 GB; what takes longer is ready when a guest has booted.
_WAIT_S = 5.0


def require_base(
    services: Services, record: InstanceRecord, *, accept: bool = False, wanted: ImageSource | None = None
) -> BaseImage:
    """Make sure that the image below a VM's disk is the one it was made on: on another one the disk would be garbage.

    accept: the user says that it is, whatever it looks like; it has to be a whole image of the same format all the same.
    wanted: the image that the VMFile names now, which may be the same one elsewhere.
    Returns it as it was found to be, for the record: what has changed on the outside is looked into once.
    Raises: `image::base_missing`, `image::base_changed`; `image::format_detection_failed` when that cannot be found out.
    """
    base = record.base_image
    status = _status(record, wanted)
    moved = not base.looks_like(status) or (status.st_ino, status.st_ctime_ns) != (base.inode, base.ctime_ns)
    if moved and not accept:
        _require_same_content(services, record, status)
    if base.format is not None:
        _look_again(base, moved=moved)
    return replace(
        base,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        ctime_ns=status.st_ctime_ns,
        content=None if moved and accept else base.content,
    )


def _status(record: InstanceRecord, wanted: ImageSource | None) -> os.stat_result:
    path = Path(record.base_image.path)
    try:
        return path.stat()
    except FileNotFoundError:
        help = (*_way_back(path, record.spec.image, wanted), BaseMissing.entry.help)
        raise BaseMissing("the image {path} no longer exists", {"path": str(path)}, help=help) from None
    except OSError as error:
        raise diagnosed(error, path) from error


def _way_back(path: Path, image: ImageSource, wanted: ImageSource | None) -> tuple[str, ...]:
    """The command that brings a missing image back, if its content is still to be had somewhere."""
    if wanted and wanted.path and wanted.path != str(path) and os.path.isfile(wanted.path):
        old, directory, new = (shlex.quote(str(it)) for it in (path, path.parent, wanted.path))
        link = f"`mkdir -p {directory} && ln -s {new} {old}`"
        return (f"the VMFile now names {wanted.path}: if that is the same image, link to it: {link}",)
    if image.url and cut_url(image.url) == image.url:
        return (f"download it again: `vmctl image pull {shlex.quote(image.url)}`",)
    return ()


def _require_same_content(services: Services, record: InstanceRecord, status: os.stat_result) -> None:
    base = record.base_image
    if status.st_size != base.size_bytes:
        raise _changed(services, record, status)
    if base.content is None:
        if not base.looks_like(status):
            raise _unknown(record, status)
        return
    services.emit(Noticed(record.name, f"the timestamp of {base.path} has changed: comparing its content"))
    try:
        found, mark = content_digest(Path(base.path), services.cancel.raise_if_cancelled)
    except OSError as error:
        raise diagnosed(error, base.path) from error
    if (found, mark) != (base.content, mark_of(status)):
        raise _changed(services, record, status)


def _look_again(base: BaseImage, *, moved: bool) -> None:
    """Its size and the time of its last change can be made to look the same; what it says of itself is read every time.

    moved: whether it may be another file, or have been written to.
    """
    path = Path(base.path)
    try:
        require_format(path, image_info(path), base.format)
    except (ImageRefused, FormatDetectionFailed) as error:
        raise BaseChanged(_CHANGED, {"path": base.path}, help=(_PUT_BACK,)) from error
    if moved and (shown := damage(path, base.format or "")) is not None:
        raise BaseChanged(_CHANGED, {"path": base.path}, help=(_PUT_BACK,), evidence=(shown,))


_CHANGED = "the image {path} is not the image that the disk was created from"
_PUT_BACK = "put the original image back: the VM's disk is kept, and holds only what differs from it"


def _changed(services: Services, record: InstanceRecord, now: os.stat_result) -> BaseChanged:
    disk = shlex.quote(str(services.store.files(record.name).overlay))
    copy = f"cp --sparse=always {disk} {record.name}-overlay-copy.qcow2"
    return BaseChanged(
        _CHANGED,
        {"path": record.base_image.path},
        help=(
            _PUT_BACK,
            f"to risk the disk on this image all the same, keep a copy of it: `{copy} && {_accepting(record)}`",
        ),
        evidence=(_difference(record.base_image, now),),
    )


def _unknown(record: InstanceRecord, now: os.stat_result) -> BaseChanged:
    return BaseChanged(
        "the timestamp of the image {path} has changed, and vmctl does not know what was in it before",
        {"path": record.base_image.path},
        help=(f"if its content is the same: `{_accepting(record)}`", f"else {_PUT_BACK}"),
        evidence=(_difference(record.base_image, now),),
    )


def _accepting(record: InstanceRecord) -> str:
    return f"vmctl start {record.name} --accept-base"


def _difference(base: BaseImage, now: os.stat_result) -> Evidence:
    lines = (
        f"then: {base.size_bytes} bytes, modified {_time(base.mtime_ns)}",
        f"now:  {now.st_size} bytes, modified {_time(now.st_mtime_ns)}",
    )
    return Evidence("probe", "the image", lines, path=base.path)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds")


def begin_digest(services: Services, base: BaseImage) -> Digesting | None:
    """Begin to compute what is in an image, unless that is known; once for all VMs on it."""
    with suppress(RuntimeError):  # no more threads: it can be done without, and another time
        return services.digesting(base) if base.content is None else None
    return None


def with_content(base: BaseImage, digesting: Digesting, *, wait: bool) -> BaseImage:
    """An image with the digest of its content, if that is known by now, and it has not changed since it was looked at."""
    found = digesting.result(_WAIT_S if wait else 0.0)
    if found is None or found[1][1:] != (base.inode, base.size_bytes, base.mtime_ns, base.ctime_ns):
        return base
    return replace(base, content=found[0])
