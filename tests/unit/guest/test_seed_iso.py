"""The seed image, read back."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pycdlib
import pytest

from vm_manager.diagnostics.errors import SeedIsoFailed
from vm_manager.guest.seed_iso import write_seed

_FILES = {"meta-data": b"instance-id: i-1\n", "user-data": b"#cloud-config\n" + b"x" * 100_000, "vendor-data": b""}


def _content(iso: pycdlib.PyCdlib, **path: str) -> bytes:
    file = BytesIO()
    iso.get_file_from_iso_fp(file, **path)
    return file.getvalue()


@pytest.mark.parametrize("names", ["joliet_path", "rr_path"])
def test_the_files_are_there_under_their_own_names(tmp_path: Path, names: str) -> None:
    write_seed(tmp_path / "seed.iso", _FILES)
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "seed.iso"))
    assert {name: _content(iso, **{names: f"/{name}"}) for name in _FILES} == _FILES
    iso.close()


def test_cloud_init_knows_it_by_its_label(tmp_path: Path) -> None:
    write_seed(tmp_path / "seed.iso", _FILES)
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "seed.iso"))
    assert iso.pvd.volume_identifier.rstrip() == b"cidata"
    iso.close()


def test_nobody_else_may_read_the_host_key_in_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_seed(tmp_path / "seed.iso", _FILES)
    finally:
        os.umask(before)
    assert (tmp_path / "seed.iso").stat().st_mode & 0o777 == 0o600


def test_a_seed_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "seed.iso").write_bytes(b"old")
    with pytest.raises(SeedIsoFailed) as caught:
        write_seed(tmp_path / "seed.iso", _FILES)
    assert [cause.type for cause in caught.value.diagnostic.causes] == ["IoFailed", "FileExistsError"]
    assert (tmp_path / "seed.iso").read_bytes() == b"old"


def test_a_missing_directory_is_the_cause(tmp_path: Path) -> None:
    with pytest.raises(SeedIsoFailed) as caught:
        write_seed(tmp_path / "none" / "seed.iso", _FILES)
    assert [cause.code for cause in caught.value.diagnostic.causes] == ["vm_manager::io", None]
    assert caught.value.exit_code == 13
