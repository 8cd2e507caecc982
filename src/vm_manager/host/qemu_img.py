"""qemu-img: overlays, other formats of an image, and whether one is sound. Source: qemu-img(1).

Every image is named to it with its format and with nothing below it (`"backing": null`), after vmctl has looked at it by itself:
it never guesses a format, and opens no file that an image names. On what others have made it works within limits.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vm_manager.diagnostics.errors import (
    ConversionFailed,
    FormatDetectionFailed,
    HostError,
    ImageRefused,
    OverlayCreationFailed,
)
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.instance import SandboxKind
from vm_manager.domain.path_text import require_utf8
from vm_manager.domain.sizes import shown_disk, whole_sectors, written_disk
from vm_manager.host.disk_space import Spare, probe_space
from vm_manager.host.image_header import CONVERTIBLE, QCOW2, RAW, ImageHeader, read_header
from vm_manager.host.process import Limits, ProcessFailed, run
from vm_manager.host.sandbox import Sandbox, confinement
from vm_manager.host.tools import find_tool, missing

_TIMEOUT_S = 120
# Of data that moves: hours for the largest disks on the slowest, but not for ever.
_COPY_TIMEOUT_S = 6 * 3600
_MIB = 1024 * 1024
# qemu-img takes 80 MiB of addresses at rest; a check adds two bytes per cluster of the file, 2 MiB for 64 GiB.
_LOOK_MEMORY_BYTES = 256 * _MIB
# Of what a file has on the disk. With clusters of 512 bytes, the smallest, a check takes 3 s for a GiB, else a hundredth of that;
# tables whose entries all point to the same make it take minutes for a few KiB. A disk that was only prepared is nothing but
# tables: 200 GiB of it in 30 MiB, which take 5 s.
_LOOK_S, _LOOK_S_PER_MIB, _LOOK_S_OF_TABLES, _LOOK_S_PER_GIB = 3, 1, 60, 8
# Its threads have stacks of 8 MiB each, of which they touch little.
_COPY_MEMORY_BYTES = 768 * _MIB
_LARGEST_FILE_BYTES = 1 << 50
_INFO_BYTES = 4 * _MIB
# qemu-img writes no more than this at a time.
_STEP_BYTES = 4 * _MIB
# Of `qemu-img check`: it came to the end and found nothing wrong, or clusters that nothing uses, which harm nobody.
_SOUND = (0, 3)
_DAMAGED = 2
# Of thousands that are alike.
_TOLD_FAULTS = 2


class FileTooLong(Exception):
    """A conversion that has come to its `most_bytes`. Translated by whoever gave these; never leaves the library."""


@dataclass(frozen=True)
class ImageInfo:
    """What an image is, by what is in it.

    depends_on: the backing or data file that it names, or None; backing: the same as a whole path, of a backing file only.
    encrypted: whether a secret is needed to read it.
    """

    format: str
    virtual_size_bytes: int
    depends_on: str | None
    backing: Path | None = None
    encrypted: bool = False


def require_qemu_img() -> Path:
    """The qemu-img program. Raises: `image::overlay_creation_failed`, caused by `host::missing_tool`."""
    try:
        return find_tool("qemu-img")
    except HostError as error:
        raise OverlayCreationFailed(missing("qemu-img", error), help=error.diagnostic.help) from error


def image_info(path: Path) -> ImageInfo:
    """Format and size of an image; none but this file is opened.

    Raises: `image::format_detection_failed`; `image::refused` for formats other than raw and qcow2.
    """
    header = read_header(path)
    if header.virtual_size_bytes is None:
        require_whole(path, ImageInfo(header.format, 0, header.depends_on))
        raise foreign_format(path, header.format)
    return ImageInfo(
        format=header.format,
        virtual_size_bytes=header.virtual_size_bytes,
        depends_on=_named(header),
        # QEMU takes a name as one of a file also with this before it.
        backing=path.parent / header.backing.removeprefix("file:") if header.backing else None,
        encrypted=header.encrypted,
    )


def foreign_size(path: Path) -> tuple[str, int] | None:
    """The format of an image that cannot run before it is converted, and the size in bytes of its disk; None: it can.

    It is qemu-img that reads it, in its sandbox; where there is none, it is refused.
    Raises: `image::refused`, `image::format_detection_failed`.
    """
    header = read_header(path)
    if header.virtual_size_bytes is not None:
        return None
    if header.format not in CONVERTIBLE:
        raise foreign_format(path, header.format)
    _require_confined(path, header)
    info = _info(path, header.format)
    if "backing-filename" in info:
        require_whole(path, ImageInfo(header.format, 0, str(info["backing-filename"])))
    size = info.get("virtual-size")
    if not isinstance(size, int):
        raise FormatDetectionFailed("qemu-img does not report the disk size of {path}", {"path": str(path)})
    return header.format, size


def foreign_format(path: Path, format: str) -> ImageRefused:
    """The failure that an image in a format other than raw and qcow2 is."""
    help = "get the image as qcow2 or raw: most publishers offer one of them"
    if format in CONVERTIBLE:
        names = f"{shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.qcow2')))}"
        help = f"convert it first: `vmctl image convert {names}`"
    return ImageRefused(
        "the image {path} is in {format} format, and VMs run from qcow2 or raw",
        {"path": str(path), "format": format},
        help=(help,),
    )


def _require_confined(path: Path, header: ImageHeader) -> None:
    require_whole(path, ImageInfo(header.format, 0, header.depends_on))
    found = confinement()
    if found.sandbox is SandboxKind.NONE:
        raise ImageRefused(
            "the image {path} is in {format} format, which vmctl converts only in a sandbox: {missing}",
            {"path": str(path), "format": header.format, "missing": found.reason},
            help=("get the image as qcow2 or raw: most publishers offer one of them",),
        )


def _named(header: ImageHeader) -> str | None:
    if header.depends_on == "":
        return "a file without a name"
    return header.depends_on


def disk_json(path: Path, format: str, below: tuple[Path, str] | None = None) -> str:
    """An image as qemu-img is told of it: with its format, and on what it stands on instead of what it names.

    below: the path and the format of the image below it. Raises: `io` where a name is not UTF-8.
    """
    return "json:" + json.dumps(_disk(path, format, below), ensure_ascii=False)


def _disk(path: Path, format: str, below: tuple[Path, str] | None) -> dict[str, Any]:
    require_utf8(path)
    backing = _disk(*below, None) if below else None
    return {"driver": format, "file": {"driver": "file", "filename": str(path)}, "backing": backing}


def backing_chain(path: Path) -> tuple[Path, ...]:
    """The files below an image, the next one first; the last may be missing. Raises: `image::format_detection_failed`."""
    chain: list[Path] = []
    while (backing := image_info(path).backing) is not None and backing not in chain:
        chain.append(backing)
        if not os.path.exists(backing):  # whatever is in its name
            break
        path = backing
    return tuple(chain)


def require_sound(path: Path, format: str) -> None:
    """Make sure that an image is not damaged or cut off. Raises: `image::format_detection_failed`."""
    if (shown := damage(path, format)) is not None:
        raise FormatDetectionFailed("{path} is damaged or truncated", {"path": str(path)}, evidence=(shown,))


def damage(path: Path, format: str) -> Evidence | None:
    """What shows that an image is damaged or cut off, as far as its format does; only a clear yes or no is one.

    Raises: `image::format_detection_failed` when it cannot be told.
    """
    if format == RAW:
        return None  # it has nothing that could be damaged
    argv = [str(require_qemu_img()), "check", "-q", "-U", disk_json(path, format)]
    try:
        run(argv, timeout_s=_TIMEOUT_S, limits=_look(path), sandbox=Sandbox(read=(path,)))
    except ProcessFailed as error:
        if error.result.status in _SOUND:
            return None
        if error.result.status == _DAMAGED:
            command, *said, ended = error.evidence.lines
            return replace(error.evidence, lines=(command, *said[:_TOLD_FAULTS], ended), truncated=True)
        raise FormatDetectionFailed(
            "{path} could not be checked for damage", {"path": str(path)}, evidence=(error.evidence,)
        ) from error
    return None


def convert(
    source: Path,
    target: Path,
    *,
    format: str,
    compress: bool,
    below: tuple[Path, str] | None = None,
    most_bytes: int = _LARGEST_FILE_BYTES,
    spare: Spare | None = None,
    cancel: CancelToken | None = None,
) -> int:
    """Write an image as one file of another format; the size in bytes of the disk in it. target: replaced when it exists.

    compress: only with qcow2, whose clusters it compresses. below: the path and format of the image that the disk of a VM stands
    on, which becomes part of the new file; no other image may refer to another file. most_bytes: how large the file may become,
    `FileTooLong` beyond it. spare: what it may take of its file system, where holes make it longer than that.
    Raises: `image::format_detection_failed`, `image::refused`, `image::conversion_failed`, `host::disk_full`,
    `vmctl::interrupted`.
    """
    try:
        program = find_tool("qemu-img")
    except HostError as error:
        raise ConversionFailed(missing("qemu-img", error), help=error.diagnostic.help) from error
    if (foreign := foreign_size(source)) is not None:
        source_format, size = foreign
    else:
        info = image_info(source)
        source_format, size = info.format, info.virtual_size_bytes
        if below is None:
            require_whole(source, info)
            # qemu-img reads zeros where a file is cut off.
            require_sound(source, info.format)
    flags = ["-c"] if compress else []
    # Beside what is in the disk, a format's own tables: an eighth is more than any has.
    watched = spare if spare is not None and size + size // 8 > spare.size_bytes else None
    if watched:
        flags += ["-r", str(watched.rate)]
    # -U: a VM that runs may have it open.
    argv = [
        str(program),
        "convert",
        "-q",
        "-U",
        *flags,
        "-O",
        format,
        disk_json(source, source_format, below),
        os.path.abspath(target),  # what stands before a colon in a relative path is taken for a protocol
    ]
    limits = Limits(_COPY_MEMORY_BYTES, _COPY_TIMEOUT_S, most_bytes)
    try:
        with os_errors(target):
            sources = (source, *((below[0],) if below else ()))
            _make(argv, target, sources, _COPY_TIMEOUT_S, limits, cancel, watched.look if watched else None)
    except ProcessFailed as error:
        raise ConversionFailed(
            "{source} could not be converted to {format}",
            {"source": str(source), "format": format},
            help=("the evidence shows what qemu-img says about it",),
            evidence=(error.evidence,),
        ) from error
    return size


def require_whole(path: Path, info: ImageInfo) -> None:
    """Make sure that an image refers to no other file, which could be any of this host's. Raises: `image::refused`."""
    if info.depends_on is None:
        return
    raise ImageRefused(
        "the image {path} depends on another file, {other}",
        {"path": str(path), "other": info.depends_on},
        help=("have it exported as a single file where it was created; never convert an image that you do not trust",),
    )


def create_overlay(overlay: Path, base: Path, size_bytes: int | None, base_format: str | None = None) -> None:
    """Create a qcow2 file that holds only what differs from `base`.

    size_bytes: the disk's size as the guest sees it, not below the base's; None: as large as the base.
    base_format: what the base was seen to be; None: it is looked at.
    Raises: `image::format_detection_failed`, `image::refused`, `image::overlay_creation_failed`, `host::disk_full`.
    """
    if not base.exists():
        raise OverlayCreationFailed("the base image {base} does not exist", {"base": str(base)})
    info = image_info(base)
    require_format(base, info, base_format)
    if size_bytes is not None and size_bytes < info.virtual_size_bytes:
        least = info.virtual_size_bytes
        raise OverlayCreationFailed(
            "a disk of {size} is smaller than its image, which has {least}",
            {"size": shown_disk(size_bytes), "least": shown_disk(least)},
            help=(f"write at least `{written_disk(least)}` in the VMFile, or leave it out: an image cannot be shrunk",),
        )
    # -u: the base is not opened.
    argv = [
        str(require_qemu_img()),
        "create",
        "-q",
        "-u",
        "-f",
        QCOW2,
        "-F",
        info.format,
        "-b",
        str(base),
        str(overlay),
    ]
    try:
        with os_errors(overlay):
            _make([*argv, str(size_bytes or info.virtual_size_bytes)], overlay, (), _TIMEOUT_S)
    except ProcessFailed as error:
        raise OverlayCreationFailed(
            "could not create the overlay on {base}", {"base": str(base)}, evidence=(error.evidence,)
        ) from error


def require_format(path: Path, info: ImageInfo, format: str | None) -> None:
    """Make sure that an image is whole, and what it was seen to be before. Raises: `image::refused`."""
    require_whole(path, info)
    if format is not None and info.format != format:
        raise ImageRefused(
            "the image {path} was {before}, and is {now} now", {"path": str(path), "before": format, "now": info.format}
        )


@dataclass(frozen=True)
class Kept:
    """A snapshot inside an image. created_s: seconds since 1970. memory_bytes: 0: without a machine's state."""

    tag: str
    created_s: int
    memory_bytes: int


def kept_snapshots(path: Path) -> tuple[Kept, ...]:
    """The snapshots inside an image. Raises: `image::format_detection_failed`."""
    entries = _info(path, QCOW2).get("snapshots", [])
    try:
        return tuple(Kept(str(entry["name"]), int(entry["date-sec"]), int(entry["vm-state-size"])) for entry in entries)
    except (TypeError, KeyError, ValueError):
        raise _unreadable(path) from None


def _info(path: Path, format: str) -> dict[str, Any]:
    """What qemu-img says of an image. Raises: `image::format_detection_failed`."""
    # -U: a QEMU that runs has it open.
    argv = [str(require_qemu_img()), "info", "-U", "--output=json", disk_json(path, format)]
    try:
        said = run(argv, timeout_s=_TIMEOUT_S, limits=_look(path), sandbox=Sandbox(read=(path,))).stdout
        info = parse(said, most_bytes=_INFO_BYTES)
    except ProcessFailed as error:
        raise _unreadable(path, error.evidence) from error
    except Unreadable:
        raise _unreadable(path) from None
    if not isinstance(info, dict):
        raise _unreadable(path)
    return info


def _look(path: Path) -> Limits:
    """What qemu-img may use to look at an image."""
    with os_errors(path):
        written_bytes = path.stat().st_blocks * 512
    tables_s = min(_LOOK_S_PER_MIB * written_bytes // _MIB, _LOOK_S_OF_TABLES)
    cpu_s = _LOOK_S + max(tables_s, _LOOK_S_PER_GIB * written_bytes // 1024**3)
    return Limits(_LOOK_MEMORY_BYTES, min(cpu_s, _TIMEOUT_S), file_bytes=_MIB)


def _unreadable(path: Path, *evidence: Evidence) -> FormatDetectionFailed:
    return FormatDetectionFailed("{path} is not a disk that qemu-img can read", {"path": str(path)}, evidence=evidence)


def create_disk(path: Path, size_bytes: int) -> None:
    """Make an empty qcow2 disk of that size. Raises: `image::overlay_creation_failed`, `host::disk_full`."""
    argv = [str(require_qemu_img()), "create", "-q", "-f", QCOW2, str(path), str(size_bytes)]
    try:
        with os_errors(path):
            _make(argv, path, (), _TIMEOUT_S)
    except ProcessFailed as error:
        raise OverlayCreationFailed(
            "{path} was not created", {"path": str(path)}, evidence=(error.evidence,)
        ) from error


def grow_disk(path: Path, size_bytes: int) -> None:
    """Make a qcow2 disk that nobody has open larger, but never smaller.

    Raises: `image::format_detection_failed`, `image::overlay_creation_failed`, `host::disk_full`.
    """
    size_bytes = whole_sectors(size_bytes)  # which `create` does by itself, and `resize` does not
    if image_info(path).virtual_size_bytes >= size_bytes:
        return
    argv = [str(require_qemu_img()), "resize", "-q", disk_json(path, QCOW2), str(size_bytes)]
    try:
        run(argv, timeout_s=_TIMEOUT_S, sandbox=Sandbox(write=(path,)))
    except ProcessFailed as error:
        with os_errors(path):
            probe_space(path.parent)
        raise OverlayCreationFailed("{path} was not grown", {"path": str(path)}, evidence=(error.evidence,)) from error


def change_snapshot(path: Path, option: str, tag: str) -> None:
    """Create (-c), apply (-a) or delete (-d) a snapshot inside an image that nobody has open. Raises: `ProcessFailed`."""
    argv = [str(require_qemu_img()), "snapshot", "-q", option, tag, disk_json(path, QCOW2)]
    run(argv, timeout_s=_TIMEOUT_S, sandbox=Sandbox(write=(path,)))


def _make(
    argv: Sequence[str],
    target: Path,
    sources: tuple[Path, ...],
    timeout_s: float,
    limits: Limits | None = None,
    cancel: CancelToken | None = None,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run a qemu-img that makes one image of others; it is there before, as a sandbox grants files that are there.

    Raises: `ProcessFailed`, `OSError`; there is nothing then.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        sandbox = Sandbox(read=sources, write=(target,))
        run(argv, timeout_s=timeout_s, limits=limits, sandbox=sandbox, cancel=cancel, watch=watch)
    except BaseException as error:
        try:
            if isinstance(error, ProcessFailed):
                # Before the file is gone, and the space that it took is there again. Probed rather than read from the
                # text: a full disk refuses one more block, too.
                probe_space(target.parent)
                if limits is not None and target.stat().st_size >= limits.file_bytes - _STEP_BYTES:
                    raise FileTooLong from error
        finally:
            target.unlink(missing_ok=True)
        raise
