"""Sizes of disks in words: as a person would say them, and as somebody may have written them in a VMFile."""

from __future__ import annotations

_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3
_UNITS = (
    ("TiB", 1024**4), ("GiB", _GIB), ("MiB", _MIB), ("KiB", _KIB),
    ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3),
)  # fmt: skip
_SECTOR_BYTES = 512


def shown_disk(size_bytes: int) -> str:
    """A size for a message, rounded: "64 MiB", "5.5 GiB"."""
    if size_bytes < _GIB:
        return f"{size_bytes / _MIB:.4g} MiB"
    return f"{size_bytes / _GIB:.3g} GiB"


def written_disk(least_bytes: int) -> str:
    """The smallest `disk` of a VMFile that is at least as large: `disk 6`, `disk "64MiB"`."""
    if least_bytes <= _GIB - _MIB:
        return f'disk "{-(-least_bytes // _MIB)}MiB"'
    return f"disk {-(-least_bytes // _GIB)}"


def whole_sectors(size_bytes: int) -> int:
    """The size of the disk that qemu-img makes for one of this size."""
    return -(-size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES


def exact_size(size_bytes: int) -> str:
    """The size of a disk in the unit of which it has the fewest: "50 MiB"; one that fits none, in KiB, rounded up."""
    counted = [(size_bytes // unit, name, unit) for name, unit in _UNITS]
    fitting = [(n, name) for n, name, unit in counted if whole_sectors(n * unit) == whole_sectors(size_bytes)]
    n, name = min(fitting, default=(-(-size_bytes // _KIB), "KiB"))
    return f"{n} {name}"
