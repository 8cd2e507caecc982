"""Sizes as messages and VMFiles have them."""

from __future__ import annotations

import pytest

from vm_manager.domain.sizes import exact_size, shown_disk, whole_sectors, written_disk
from vm_manager.vmfile.values import size_with_unit

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


@pytest.mark.parametrize("text", ["1 MiB", "50 MiB", "1 GiB", "1000 GiB", "2 TiB", "1025 KiB", "50 MB", "2 GB", "3 TB"])
def test_a_size_and_that_of_its_disk_are_told_as_they_were_written(text: str) -> None:
    size = size_with_unit(text)
    assert size is not None
    assert exact_size(size) == exact_size(whole_sectors(size)) == text


def test_a_size_that_nobody_can_write_is_told_as_the_next_one_that_can_be() -> None:
    assert exact_size(513 * 512) == "257 KiB"
