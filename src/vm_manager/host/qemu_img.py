"""qemu-img: what a disk image is, and overlays on top of one. Source: qemu-img(1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_manager.diagnostics.errors import FormatDetectionFailed, HostError, OverlayCreationFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.host.process import ProcessFailed, run
from vm_manager.host.tools import find_tool

_TIMEOUT_S = 120


@dataclass(frozen=True)
class ImageInfo:
    """What `qemu-img info` says. depends_on: the backing or data file that it names, or None."""

    format: str
    virtual_size_bytes: int
    depends_on: str | None


def require_qemu_img() -> Path:
    """The qemu-img program. Raises: `image::overlay_creation_failed`, caused by `host::missing_tool`."""
    try:
        return find_tool("qemu-img")
    except HostError as error:
        raise OverlayCreationFailed("qemu-img is not installed", help=error.diagnostic.help) from error


def image_info(path: Path) -> ImageInfo:
    """Format and size of an image. Raises: `image::format_detection_failed`."""
    info = _info(path)
    data_file = info.get("format-specific", {}).get("data", {}).get("data-file")
    return ImageInfo(info["format"], info["virtual-size"], info.get("backing-filename") or data_file)


def _info(path: Path) -> Any:
    # -U: an image that a running QEMU holds open can be looked at all the same.
    argv = [str(require_qemu_img()), "info", "-U", "--output=json", str(path)]
    try:
        return json.loads(run(argv, timeout_s=_TIMEOUT_S).stdout)
    except ProcessFailed as error:
        raise FormatDetectionFailed(
            "{path} is not a disk image that qemu-img can read", {"path": str(path)}, evidence=(error.evidence,)
        ) from error


def create_overlay(overlay: Path, base: Path, size_bytes: int | None) -> None:
    """Create a qcow2 file that holds only what differs from `base`.

    size_bytes: the disk's size as the guest sees it, not below the base's; None: as large as the base.
    Raises: `image::format_detection_failed`, `image::overlay_creation_failed`, `host::disk_full`.
    """
    if not base.exists():
        raise OverlayCreationFailed("the base image {base} does not exist", {"base": str(base)})
    info = image_info(base)
    if size_bytes is not None and size_bytes < info.virtual_size_bytes:
        least = -(-info.virtual_size_bytes // 1024**3)
        raise OverlayCreationFailed(
            "a disk of {size} bytes is smaller than its image, which has {least} bytes",
            {"size": size_bytes, "least": info.virtual_size_bytes},
            help=(f"write at least `disk {least}` in the VMFile, or leave it out: a file system cannot be cut off",),
        )
    argv = [str(require_qemu_img()), "create", "-q", "-f", "qcow2", "-F", info.format, "-b", str(base), str(overlay)]
    try:
        run(argv if size_bytes is None else [*argv, str(size_bytes)], timeout_s=_TIMEOUT_S)
    except ProcessFailed as error:
        # Probed rather than read from the text: a full disk refuses one more block, too.
        with os_errors(overlay.parent):
            require_space(overlay.parent)
        raise OverlayCreationFailed(
            "the overlay on {base} was not created", {"base": str(base)}, evidence=(error.evidence,)
        ) from error


@dataclass(frozen=True)
class Kept:
    """A snapshot inside an image. created_s: seconds since 1970. memory_bytes: 0: without a machine's state."""

    tag: str
    created_s: int
    memory_bytes: int


def kept_snapshots(path: Path) -> tuple[Kept, ...]:
    """The snapshots inside an image. Raises: `image::format_detection_failed`."""
    return tuple(
        Kept(entry["name"], entry["date-sec"], entry["vm-state-size"]) for entry in _info(path).get("snapshots", ())
    )


def change_snapshot(path: Path, option: str, tag: str) -> None:
    """Create (-c), apply (-a) or delete (-d) a snapshot inside an image that nobody has open. Raises: `ProcessFailed`."""
    run([str(require_qemu_img()), "snapshot", "-q", option, tag, str(path)], timeout_s=_TIMEOUT_S)


def require_space(directory: Path) -> None:
    """Probe whether a directory's file system takes one more block. Raises: `OSError`."""
    probe = directory / ".space-probe"
    try:
        probe.write_bytes(b"\0" * 65536)
    finally:
        probe.unlink(missing_ok=True)
