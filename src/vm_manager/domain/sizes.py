"""Sizes of disks in the unit that a person would use."""

from __future__ import annotations

_MIB, _GIB = 1024**2, 1024**3


def shown_disk(size_bytes: int) -> str:
    """A size for a message: "64 MiB", "5.5 GiB"."""
    if size_bytes < _GIB:
        return f"{size_bytes / _MIB:.4g} MiB"
    return f"{size_bytes / _GIB:.3g} GiB"


def written_disk(least_bytes: int) -> str:
    """The smallest `disk` of a VMFile that is at least as large: `disk 6`, `disk "64MiB"`."""
    if least_bytes <= _GIB - _MIB:
        return f'disk "{-(-least_bytes // _MIB)}MiB"'
    return f"disk {-(-least_bytes // _GIB)}"
