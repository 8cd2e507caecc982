"""Files and directories: whole or untouched, and for this user alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unit.samples import record
from vm_manager.diagnostics.errors import IoFailed
from vm_manager.state.files import make_dir, write_atomically, write_private
from vm_manager.state.layout import DataDir
from vm_manager.state.lock import locked
from vm_manager.state.store import InstanceStore


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _modes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): f"{path.stat().st_mode & 0o777:o}" for path in (*root.rglob("*"),) if path.exists()
    }


def _make_one(root: Path) -> None:
    store = InstanceStore(DataDir(root / "vmctl"))
    with store.lock("web", "test"), store.creating("web") as staging:
        store.write_new(record(), staging)


def _private(modes: dict[str, str]) -> dict[str, str]:
    return {path: "600" if path.endswith((".json", ".bak", ".lock")) else "700" for path in modes}


def test_the_umask_decides_about_files_that_are_the_users(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        with _umask(mask):
            write_atomically(tmp_path / "picture", b"", durable=False, usual_mode=True)
        assert (tmp_path / "picture").stat().st_mode & 0o777 == mode


def test_directories_are_0700_and_files_0600(tmp_path: Path) -> None:
    with _umask(0o022):
        make_dir(tmp_path / "vmctl")
        _make_one(tmp_path)
    modes = _modes(tmp_path)
    assert modes == _private(modes)
    assert set(modes) == {
        "vmctl",
        "vmctl/vms",
        "vmctl/vms/web",
        "vmctl/vms/web/vm.json",
        "vmctl/vms/web/vm.json.bak",
        "vmctl/locks",
        "vmctl/locks/web.lock",
    }


@pytest.mark.parametrize(
    "mask",
    [
        0,
        0o777,
    ],
    ids=oct,
)
def test_they_are_so_under_any_umask(tmp_path: Path, mask: int) -> None:
    with _umask(mask):
        _make_one(tmp_path)
    modes = _modes(tmp_path)
    assert modes == _private(modes)


def test_making_a_directory_that_is_there_changes_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_dir(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_way_of_a_directory_is_diagnosed(tmp_path: Path) -> None:
    (tmp_path / "vmctl").touch()
    with pytest.raises(IoFailed):
        make_dir(tmp_path / "vmctl" / "vms")


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "vm.json"
    path.write_bytes(b"a much longer text than the new one")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "vm.json"
    path.write_bytes(b"old")
    # What cannot be opened cannot be written: the temporary file's place is taken.
    (tmp_path / f".vm.json.{os.getpid()}.tmp").mkdir()
    with pytest.raises(IoFailed) as caught:
        write_atomically(path, b"new")
    assert caught.value.diagnostic.args["path"] == str(path)
    assert path.read_bytes() == b"old"


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "key").symlink_to(victim)
    write_private(tmp_path / "key", b"secret")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_lock_file_is_private(tmp_path: Path) -> None:
    with _umask(0), locked(tmp_path / "locks", "web", "test"):
        assert (tmp_path / "locks" / "web.lock").stat().st_mode & 0o777 == 0o600
