"""Space on this host's file systems: measured, asked for before it is taken, and probed where something has failed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.errors import DiskFull, VmError
from vm_manager.diagnostics.os_errors import diagnosed, free_space_help

_MIB, _GIB = 1024**2, 1024**3
# Kept free of images: so much, or this part of a small file system.
_RESERVE_BYTES, _RESERVE_PART = _GIB, 20
_PROBE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Spare:
    """What a conversion may take of a file system.

    size_bytes: that there is. look: called about five times a second when the disk may take more; what it raises ends the
    conversion. rate: bytes a second that are written then at most, so that no look comes too late.
    """

    size_bytes: int
    look: Callable[[], None]
    rate: int


def free_bytes(path: Path) -> int | None:
    """The space that is left for us on the file system of a path; None when it cannot be found out."""
    try:
        return _measure(path)[0]
    except OSError:
        return None


def spare_bytes(directory: Path) -> int:
    """How much images may take of a file system, so that some of it stays free; below 0 where that is less. Raises: `OSError`."""
    free, total = _measure(directory)
    return free - _reserve_bytes(total)


def spare_of(directory: Path, name: str) -> Spare:
    """What a conversion may take of a file system. name: of the image. Raises: `host::disk_full`; `OSError`."""
    require_spare(directory, name, 0)
    rate = 2 * _reserve_bytes(_measure(directory)[1])
    return Spare(spare_bytes(directory), lambda: require_spare(directory, name, 0), rate)


def require_free(path: Path, needed_bytes: int, takes: str, *, directory: Path | None = None) -> None:
    """Make sure that a file fits; where the space cannot be measured, writing the file shows it.

    takes: how the message begins: "the VM's disk takes". directory: whose file system is measured; default: the file's own.
    Raises: `host::disk_full`.
    """
    directory = directory or path.parent
    free = free_bytes(directory)
    if free is not None and free < needed_bytes:
        raise DiskFull(
            f"{takes} {{needed}} MiB, and {{free}} MiB are free for {{path}}",
            {"needed": -(-needed_bytes // _MIB), "free": free // _MIB, "path": str(path)},
            help=(free_space_help(directory),),
        )


def require_spare(directory: Path, name: str, missing_bytes: int) -> None:
    """Make sure that so many bytes more leave some of the file system free.

    name: of the image. missing_bytes: 0: it has been written, and nobody knows how much is to come.
    Raises: `host::disk_full`; `OSError`.
    """
    spare = spare_bytes(directory)
    if missing_bytes <= spare:
        return
    facts: dict[str, str | int] = {
        "name": name,
        "missing": missing_bytes,
        "path": str(directory),
        "spare": max(0, spare),
    }
    template = "{name} needs {missing} more bytes, but {path} has {spare} available"
    if not missing_bytes:
        template = "{name} does not fit: {path} has no space available besides the reserve that vmctl keeps free"
    free, total = _measure(directory)
    kept = (
        f"{free // _MIB} of {total // _MIB} MiB are free there; vmctl leaves {_reserve_bytes(total) // _MIB} MiB free"
    )
    raise DiskFull(template, facts, help=(free_space_help(directory),), notes=(kept,))


def probe_space(directory: Path) -> None:
    """Probe whether a directory's file system takes one more block. Raises: `OSError`, which names no file."""
    probe = directory / ".space-probe"
    try:
        probe.write_bytes(b"\0" * _PROBE_BYTES)
    except OSError as error:
        raise OSError(error.errno, error.strerror) from None
    finally:
        with suppress(OSError):  # on a file system that is read-only there is nothing to remove
            probe.unlink(missing_ok=True)


def raise_if_full(path: Path, failure: VmError, *, then: tuple[str, ...] = ()) -> None:
    """Name a full disk where that is behind a failure to write a file. Probed rather than read from the failure's text.

    then: further help.
    Raises: `host::disk_full` with the failure's evidence; `host::permission_denied`, `io` where the directory is gone.
    """
    try:
        probe_space(path.parent)
    except OSError as error:
        # Of the file that could not be written, not of the probe.
        found = diagnosed(error, path)
        found.enrich(help=(*found.diagnostic.help, *then), evidence=failure.diagnostic.evidence)
        raise found from failure


def _reserve_bytes(total: int) -> int:
    return min(_RESERVE_BYTES, total // _RESERVE_PART)


def _measure(path: Path) -> tuple[int, int]:
    """The bytes that are left for us, and those of the whole file system. Source: statvfs(3)."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
