"""Sizes of disks in words: as somebody may have written them in a VMFile."""

from __future__ import annotations

_KIB = 1024
_UNITS = (
    ("TiB", _KIB**4), ("GiB", _KIB**3), ("MiB", _KIB**2), ("KiB", _KIB),
    ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3),
)  # fmt: skip
_SECTOR_BYTES = 512


def whole_sectors(size_bytes: int) -> int:
    """The size of the disk that qemu-img makes for one of this size."""
    return -(-size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES


def exact_size(size_bytes: int) -> str:
    """The size of a disk in the unit of which it has the fewest: "50 MiB"; one that fits none, in KiB, rounded up."""
    counted = [(size_bytes // unit, name, unit) for name, unit in _UNITS]
    fitting = [(n, name) for n, name, unit in counted if whole_sectors(n * unit) == whole_sectors(size_bytes)]
    n, name = min(fitting, default=(-(-size_bytes // _KIB), "KiB"))
    return f"{n} {name}"
