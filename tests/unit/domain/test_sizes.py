"""Sizes as messages and VMFiles have them."""

from __future__ import annotations

import pytest

from vm_manager.domain.sizes import shown_disk, written_disk

_MIB, _GIB = 1024**2, 1024**3


@pytest.mark.parametrize(
    ("size_bytes", "shown", "written"),
    [
        (64 * _MIB, "64 MiB", 'disk "64MiB"'),
        (64 * _MIB + 512, "64 MiB", 'disk "65MiB"'),
        (1023 * _MIB + 1, "1023 MiB", "disk 1"),
        (_GIB, "1 GiB", "disk 1"),
        (5 * _GIB + _GIB // 2, "5.5 GiB", "disk 6"),
    ],
)
def test_a_size_has_the_unit_that_a_person_would_use(size_bytes: int, shown: str, written: str) -> None:
    assert (shown_disk(size_bytes), written_disk(size_bytes)) == (shown, written)
