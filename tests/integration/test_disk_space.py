"""Space on a file system of its own: measured, asked for, and probed behind a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import small_file_system
from vm_manager.diagnostics.errors import DiskFull, QemuJobFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.host.disk_space import free_bytes, probe_space, raise_if_full, require_free, require_spare, spare_bytes

_MIB = 1024**2


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 20 MiB, of which images leave 1 MiB."""
    with small_file_system(tmp_path / "small one", "20m") as path:
        yield path


def _fill(directory: Path) -> None:
    with (directory / "fill").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free_bytes(directory) or 0)


def test_what_is_free_and_what_images_may_take_of_it(small: Path) -> None:
    assert free_bytes(small) == 20 * _MIB
    assert spare_bytes(small) == 19 * _MIB
    assert free_bytes(small / "missing") is None


def test_a_file_that_fits_is_let_through_and_another_is_refused_with_the_figures(small: Path) -> None:
    require_free(small / "disk", 20 * _MIB, "the VM's disk takes")
    with pytest.raises(
        DiskFull, match=f"^the VM's disk takes 21 MiB, and 20 MiB are free for {small}/disk$"
    ) as failure:
        require_free(small / "disk", 20 * _MIB + 1, "the VM's disk takes")
    assert failure.value.diagnostic.help == (f"free some disk space (`df -h '{small}'` shows how much is left)",)


def test_space_that_cannot_be_measured_refuses_nothing(tmp_path: Path) -> None:
    require_free(tmp_path / "missing" / "disk", 2**60, "the VM's disk takes")


def test_images_leave_some_of_the_file_system_free(small: Path) -> None:
    require_spare(small, "debian", 19 * _MIB)
    with pytest.raises(DiskFull, match=f"debian needs {20 * _MIB} more bytes, but .* has {19 * _MIB} available"):
        require_spare(small, "debian", 20 * _MIB)
    _fill(small)
    with pytest.raises(DiskFull, match=r"debian does not fit: .* has no space available"):
        require_spare(small, "debian", 0)


def test_a_full_disk_behind_a_failure_is_named_with_what_was_seen_and_what_comes_next(small: Path) -> None:
    failure = QemuJobFailed("the job failed", evidence=(Evidence("qmp", "QEMU's reason", ("why",)),))
    raise_if_full(small / "disk", failure)
    _fill(small)
    with pytest.raises(DiskFull, match=f"^no space left for {small}/disk$") as full:
        raise_if_full(small / "disk", failure, then=("once more",))
    assert full.value.__cause__ is failure
    assert full.value.diagnostic.evidence == failure.diagnostic.evidence
    assert full.value.diagnostic.help[1:] == ("once more",)


def test_a_probe_leaves_nothing_behind(small: Path) -> None:
    probe_space(small)
    _fill(small)
    with pytest.raises(OSError, match="No space left"):
        probe_space(small)
    assert [path.name for path in small.iterdir()] == ["fill"]
