"""Disks beside the root disk: made once, kept, grown, and never made anew when they are gone."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import BLANK, Vmctl, blank_disk, qemu_processes

_GIB = 1024**3


def _with(*drives: str) -> str:
    return BLANK.replace("memory 64", "memory 64\n    " + "\n    ".join(f"drive {drive}" for drive in drives))


@pytest.fixture
def project(vmctl: Vmctl) -> Vmctl:
    """A VM without a guest that has a drive of 1 GiB."""
    blank_disk(vmctl.directory)
    vmctl.write(_with('"data" size=1'))
    return vmctl


def _off(vmctl: Vmctl) -> None:
    vmctl("down", "--timeout", "0")


def _write(vmctl: Vmctl, drive: str = "data") -> None:
    path = vmctl.home("blank") / "drives" / f"{drive}.qcow2"
    subprocess.run(["qemu-io", "-c", "write -q -P 7 1M 1M", str(path)], check=True)


def _is_written(vmctl: Vmctl, drive: str = "data") -> bool:
    path = vmctl.home("blank") / "drives" / f"{drive}.qcow2"
    argv = ["qemu-io", "-r", "-U", "-c", "read -q -P 7 1M 1M", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "Pattern verification failed" in done.stdout + done.stderr, done
    return done.returncode == 0


def _size(vmctl: Vmctl, drive: str = "data") -> int:
    path = vmctl.home("blank") / "drives" / f"{drive}.qcow2"
    argv = ["qemu-img", "info", "-U", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return int(said.partition("virtual size: ")[2].partition("(")[2].split()[0])


def test_drives_move_with_a_running_vm_also_those_that_it_has_no_more(project: Vmctl, tmp_path: Path) -> None:
    project.write(_with('"data" size=1', '"more" size="300MiB"', '"old" size=1'))
    project("up")
    _off(project)
    for drive in ("data", "more", "old"):
        _write(project, drive)
    project.write(_with('"data" size=1', '"more" size="300MiB"'))
    project("up")
    there = replace(project, data=tmp_path / "there")
    (there.data / "vmctl").mkdir(parents=True)
    try:
        project("migrate", "blank", "--to", str(there.data / "vmctl"))
        assert (qemu_processes(project.data), project("list", "--quiet").stdout) == ([], "")
        assert [_is_written(there, drive) for drive in ("data", "more", "old")] == [True, True, True]
        assert _size(there, "more") == 300 * 1024**2
        (_, *rest) = [path for path in (there.home("blank") / "drives").iterdir() if path.stat().st_mode & 0o077 == 0]
        assert len(rest) == 2
        # Back again, through what the first move has left of the mirrors: nothing.
        there("migrate", "blank", "--to", str(project.data / "vmctl"))
        assert [_is_written(project, drive) for drive in ("data", "more", "old")] == [True, True, True]
        project("restart", "blank", "--timeout", "0")
    finally:
        there.destroy_all()


def test_a_drive_outlives_all_but_destroy(project: Vmctl) -> None:
    project("up")
    _off(project)
    _write(project)
    project("up")
    assert _is_written(project)
    inode = (project.home("blank") / "drives" / "data.qcow2").stat().st_ino
    project("reload", "--timeout", "0")
    assert _is_written(project)
    status = (project.home("blank") / "drives" / "data.qcow2").stat()
    assert (status.st_ino, status.st_nlink, status.st_mode & 0o777) == (inode, 1, 0o600)
    assert project("status", "blank", "--json").json["vm"]["drives"] == [{"name": "data", "size_bytes": _GIB}]
    project("suspend", "--to-disk", "blank")
    project("resume", "blank")
    project("destroy", "blank")
    assert not project.home("blank").exists()


def test_a_drive_grows_and_never_shrinks_and_a_new_one_comes_with_the_next_start(project: Vmctl) -> None:
    project("up")
    project.write(_with('"data" size=2', '"more" size="512MiB"'))
    assert "drive changed: takes effect after `vmctl down` and `vmctl up`" in project("up").stdout
    _off(project)
    _write(project)
    project("up")
    assert (_size(project), _size(project, "more")) == (2 * _GIB, _GIB // 2)
    _off(project)
    project.write(_with('"data" size=2'))
    project("up")
    assert (_size(project), _is_written(project)) == (2 * _GIB, True)
    # Left out, it is kept, and may come back.
    assert (project.home("blank") / "drives" / "more.qcow2").exists()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("words", [("plan",), ("up",), ("reload", "--timeout", "0")], ids=lambda words: words[0])
def test_a_drive_that_would_be_smaller_is_refused_before_anything_is_done(
    project: Vmctl, words: tuple[str, ...], running: bool
) -> None:
    project("up")
    if not running:
        _off(project)
    before = project("status", "blank", "--json").json["vm"]
    project.write(_with('"data" size="20MiB"', '"more" size=1'))
    refused = project(*words, status=3)
    assert refused.code == "vm_manager::vmfile::validation"
    assert "drive 'data' has 1 GiB and cannot be made smaller" in refused.stderr
    assert '"20MiB"' in refused.stderr
    assert 'write `size="1GiB"`, or give the new drive another name' in refused.stderr
    assert project("status", "blank", "--json").json["vm"] == before
    project.write(_with('"data" size="1GiB"', '"more" size=1'))
    assert project("plan").stdout


def test_a_drive_that_was_left_out_and_comes_back_smaller_is_refused(project: Vmctl) -> None:
    project("up")
    _off(project)
    project.write(BLANK)
    project("up")
    project.write(_with('"data" size="512MiB"'))
    assert "drive 'data' has 1 GiB and cannot be made smaller" in project("up", status=3).stderr


def test_a_size_that_is_no_whole_number_of_sectors_is_that_of_its_disk(project: Vmctl) -> None:
    project.write(_with('"odd" size="50MB"'))
    project("up")
    assert "drive changed" not in project("up").stdout
    _off(project)
    project("up")
    assert "odd 50 MB" in project("status", "blank").stdout
    project.write(_with('"odd" size="49MB"'))
    assert 'write `size="50MB"`' in project("plan", status=3).stderr
    _off(project)
    project.write(_with('"odd" size="61MB"'))
    assert "drive 'odd' grows from 50 MB to 61 MB" in project("plan").stdout
    project("up")
    assert "odd 61 MB" in project("status", "blank").stdout


def test_status_shows_the_size_that_the_disk_of_a_drive_has(project: Vmctl) -> None:
    project("up")
    _off(project)
    drive = project.home("blank") / "drives" / "data.qcow2"
    subprocess.run(["qemu-img", "resize", "-q", str(drive), "3G"], check=True)
    assert "data 3 GiB" in project("status", "blank").stdout
    assert project("status", "blank", "--json").json["vm"]["drives"] == [{"name": "data", "size_bytes": 3 * _GIB}]
    drive.rename(drive.with_name("elsewhere"))
    assert "data (no readable disk)" in project("status", "blank").stdout
    assert project("status", "blank", "--json").json["vm"]["drives"] == [{"name": "data", "size_bytes": None}]


def test_a_drive_that_is_gone_is_not_made_anew(project: Vmctl) -> None:
    project("up")
    _off(project)
    drive = project.home("blank") / "drives" / "data.qcow2"
    drive.rename(drive.with_name("elsewhere"))
    failed = project("up", status=14)
    assert failed.code == "vm_manager::io"
    assert "the drive 'data' of VM 'blank' is missing: " in failed.stderr
    assert not drive.exists()
    drive.with_name("elsewhere").rename(drive)
    project("up")


def test_a_drive_whose_header_came_to_name_another_file_opens_none(project: Vmctl) -> None:
    project("up")
    _off(project)
    secret = project.directory / "secret.raw"
    secret.write_bytes(b"secret" * 1024)
    drive = project.home("blank") / "drives" / "data.qcow2"
    subprocess.run(["qemu-img", "rebase", "-u", "-F", "raw", "-b", str(secret), str(drive)], check=True)
    assert project("up", status=None).status in (0, 8)
    for pid in qemu_processes(project.data):
        links = subprocess.run(["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True, check=True).stdout
        assert "secret.raw" not in links


def test_snapshots_have_all_drives(project: Vmctl) -> None:
    project("up")
    _off(project)
    project("snapshot", "create", "blank", "before")
    _write(project)
    project("snapshot", "restore", "blank", "before")
    assert not _is_written(project)
    project("up")
    project("snapshot", "create", "blank", "with-memory")
    tags = [kept["tag"] for kept in project("snapshot", "list", "blank", "--json").json["snapshots"]]
    assert tags == ["before", "with-memory"]
    project("snapshot", "restore", "blank", "with-memory")
    project("snapshot", "delete", "blank", "with-memory")


def _snapshots(vmctl: Vmctl) -> dict[str, list[str]]:
    """The tags that are listed, with what each is without."""
    return {kept["tag"]: kept["without"] for kept in vmctl("snapshot", "list", "blank", "--json").json["snapshots"]}


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_snapshot_that_is_older_than_a_drive_is_known_and_comes_back_without_the_drive(
    project: Vmctl, running: bool
) -> None:
    project.write(BLANK)
    project("up")
    project("snapshot", "create", "blank", "before")
    _off(project)
    project.write(_with('"data" size="50MiB"'))
    project("up")
    if not running:
        _off(project)
    assert _snapshots(project) == {"before": ["drive 'data'"]}
    header, line, _, note = project("snapshot", "list", "blank").stdout.splitlines()
    assert (header.split()[0], line.split()[0]) == ("TAG", "before!")
    assert note == "! 'before' was taken without drive 'data'"
    refused = project("snapshot", "restore", "blank", "before", status=5)
    assert refused.code == "vm_manager::vm::invalid_state"
    assert "snapshot 'before' was taken without drive 'data'" in refused.stderr
    assert "remove drive 'data' from the VMFile" in refused.stderr
    taken = project("snapshot", "create", "blank", "before", status=5)
    assert "already has a snapshot 'before'" in taken.stderr
    # The way that the help shows.
    project.write(BLANK)
    project("down", "blank", "--timeout", "0")
    project("up", "blank")
    assert _snapshots(project) == {"before": []}
    project("snapshot", "restore", "blank", "before")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_snapshot_is_deleted_from_the_disks_that_are_in_it_attached_or_not(project: Vmctl, running: bool) -> None:
    project("up")
    project("snapshot", "create", "blank", "before")
    _off(project)
    project.write(_with('"archive" size="50MiB"'))  # another name, another drive
    project("up")
    project("snapshot", "create", "blank", "after")
    if not running:
        _off(project)
    project("snapshot", "delete", "blank", "before")
    assert _snapshots(project) == {"after": []}
    for disk in ("overlay.qcow2", "drives/data.qcow2"):
        argv = ["qemu-img", "snapshot", "-U", "-l", str(project.home("blank") / disk)]
        assert "before" not in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    project("snapshot", "create", "blank", "before")
    assert _snapshots(project) == {"after": [], "before": []}


def test_a_snapshot_with_a_drive_that_is_not_attached_is_refused_and_comes_back_with_it(project: Vmctl) -> None:
    project("up")
    project("snapshot", "create", "blank", "before")
    _off(project)
    project.write(BLANK)
    project("up")
    (kept,) = project("snapshot", "list", "blank", "--json").json["snapshots"]
    assert (kept["without"], kept["detached"]) == ([], ["drive 'data'"])
    assert "before! " in project("snapshot", "list", "blank").stdout
    # QEMU would have put back the root disk before it found that the memory does not fit, and the guest would have run on.
    refused = project("snapshot", "restore", "blank", "before", status=5)
    assert "snapshot 'before' was taken with drive 'data', not attached now" in refused.stderr
    assert "define drive 'data' in the VMFile again" in refused.stderr
    _off(project)
    project.write(_with('"data" size=1'))
    project("up")
    project("snapshot", "restore", "blank", "before")


def test_a_snapshot_of_a_root_disk_that_was_replaced_is_only_deleted(project: Vmctl) -> None:
    project("up")
    project("snapshot", "create", "blank", "before")
    project("reload", "--timeout", "0")
    assert _snapshots(project) == {"before": ["the present root disk"]}
    refused = project("snapshot", "restore", "blank", "before", status=5)
    assert "`vmctl snapshot delete blank before`" in refused.stderr
    project("snapshot", "delete", "blank", "before")
    assert _snapshots(project) == {}


def test_the_guest_finds_its_drive_by_its_name(vmctl: Vmctl, tiny: TinyGuest) -> None:
    find = "cat /sys/block/vd*/serial; cat /sys/block/vdb/size"
    vmctl.write(tiny.vm(body=f'drive "data" size=1\n    provision "shell" {{ inline "{find}"; }}'))
    said = vmctl("up").stderr
    assert "data" in said
    assert str(_GIB // 512) in said
