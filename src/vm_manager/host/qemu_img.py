"""qemu-img: what a disk image is, overlays on top of one, other formats of it. Source: qemu-img(1)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm_manager.diagnostics.errors import ConversionFailed, FormatDetectionFailed, HostError, OverlayCreationFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.host.process import ProcessFailed, run
from vm_manager.host.sandbox import Sandbox
from vm_manager.host.tools import find_tool

_TIMEOUT_S = 120
# Of data that moves: hours for the largest disks on the slowest, but not for ever.
_COPY_TIMEOUT_S = 6 * 3600
# Of `qemu-img check`; 3: clusters that nothing uses, which harm nobody; 63: a format without checks.
_DAMAGED = 2


@dataclass(frozen=True)
class ImageInfo:
    """What `qemu-img info` says.

    depends_on: the backing or data file that it names, or None; backing: the same as a whole path, of a backing file only.
    size_bytes: what it takes on this host's disk.
    """

    format: str
    virtual_size_bytes: int
    depends_on: str | None
    backing: Path | None = None
    size_bytes: int = 0


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
    backing = info.get("full-backing-filename") or info.get("backing-filename")
    return ImageInfo(
        format=info["format"],
        virtual_size_bytes=info["virtual-size"],
        depends_on=info.get("backing-filename") or data_file,
        backing=(path.parent / backing) if backing else None,
        size_bytes=info.get("actual-size", 0),
    )


def _info(path: Path) -> Any:
    # -U: an image that a running QEMU holds open can be looked at all the same.
    argv = [str(require_qemu_img()), "info", "-U", "--output=json", str(path)]
    try:
        return json.loads(run(argv, timeout_s=_TIMEOUT_S, sandbox=Sandbox(read=(path,))).stdout)
    except ProcessFailed as error:
        raise FormatDetectionFailed(
            "{path} is not a disk image that qemu-img can read", {"path": str(path)}, evidence=(error.evidence,)
        ) from error


def backing_chain(path: Path) -> tuple[Path, ...]:
    """The files below an image, the next one first; the last may be missing. Raises: `image::format_detection_failed`."""
    chain: list[Path] = []
    while (backing := image_info(path).backing) is not None and backing not in chain:
        chain.append(backing)
        if not backing.exists():
            break
        path = backing
    return tuple(chain)


def require_sound(path: Path, format: str) -> None:
    """Make sure that an image is not damaged or cut off, as far as its format shows it.

    Raises: `image::format_detection_failed`.
    """
    argv = [str(require_qemu_img()), "check", "-q", "-U", "-f", format, str(path)]
    try:
        run(argv, timeout_s=_TIMEOUT_S, sandbox=Sandbox(read=(path,)))
    except ProcessFailed as error:
        if error.result.status == _DAMAGED:
            raise FormatDetectionFailed(
                "{path} is damaged or was cut off", {"path": str(path)}, evidence=(error.evidence,)
            ) from error


def convert(source: Path, target: Path, *, format: str, compress: bool) -> None:
    """Write an image, with all that is below it, as one file of another format. target: replaced when it exists.

    compress: only with qcow2, whose clusters it compresses.
    Raises: `image::format_detection_failed`, `image::conversion_failed`, `host::disk_full`.
    """
    try:
        program = find_tool("qemu-img")
    except HostError as error:
        raise ConversionFailed("qemu-img is not installed", help=error.diagnostic.help) from error
    known, below = image_info(source).format, backing_chain(source)
    flags = ["-c"] if compress else []
    # -U: a VM that runs may have it open. -f: what it was found to be, and nothing else.
    argv = [str(program), "convert", "-q", "-U", *flags, "-f", known, "-O", format, str(source), str(target)]
    try:
        with os_errors(target):
            _make(argv, target, (source, *below), _COPY_TIMEOUT_S)
    except ProcessFailed as error:
        with os_errors(target.parent):
            require_space(target.parent)
        raise ConversionFailed(
            "{source} could not be converted to {format}",
            {"source": str(source), "format": format},
            help=(f"`qemu-img check '{source}'` says whether the image is damaged",),
            evidence=(error.evidence,),
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
        with os_errors(overlay):
            _make(argv if size_bytes is None else [*argv, str(size_bytes)], overlay, (base,), _TIMEOUT_S)
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
    # What is below takes no part in it, and is not opened.
    alone = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": str(path)}}
    argv = [str(require_qemu_img()), "snapshot", "-q", option, tag, f"json:{json.dumps(alone)}"]
    run(argv, timeout_s=_TIMEOUT_S, sandbox=Sandbox(write=(path,)))


def _make(argv: Sequence[str], target: Path, sources: tuple[Path, ...], timeout_s: float) -> None:
    """Run a qemu-img that makes one image of others; it is there before, as a sandbox grants files that are there.

    Raises: `ProcessFailed`, `OSError`; there is nothing then.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        run(argv, timeout_s=timeout_s, sandbox=Sandbox(read=sources, write=(target,)))
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def require_space(directory: Path) -> None:
    """Probe whether a directory's file system takes one more block. Raises: `OSError`."""
    probe = directory / ".space-probe"
    try:
        probe.write_bytes(b"\0" * 65536)
    finally:
        probe.unlink(missing_ok=True)
