"""Sizes of disks in words."""

from __future__ import annotations

import pytest

from vm_manager.domain.sizes import exact_size, whole_sectors
from vm_manager.vmfile.values import size_with_unit


@pytest.mark.parametrize("text", ["1 MiB", "50 MiB", "1 GiB", "1000 GiB", "2 TiB", "1025 KiB", "50 MB", "2 GB", "3 TB"])
def test_a_size_and_that_of_its_disk_are_told_as_they_were_written(text: str) -> None:
    size = size_with_unit(text)
    assert size is not None
    assert exact_size(size) == exact_size(whole_sectors(size)) == text


def test_a_size_that_nobody_can_write_is_told_as_the_next_one_that_can_be() -> None:
    assert exact_size(513 * 512) == "257 KiB"
