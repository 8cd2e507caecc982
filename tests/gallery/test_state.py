"""VMs, their directories and their records"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from driver import Vmctl, blank_disk, qemu_processes, wait_for
from first_screen import Gallery
from vm_manager.domain.instance import RECORD_SCHEMA

_CORRUPT = "vm_manager::state::corrupt"
_STRAY = "vm_manager::vm::stray"
_CHANGED = "vm_manager::image::base_changed"


@pytest.fixture
def up(blank: Vmctl) -> Vmctl:
    """A project whose VM runs."""
    blank("up")
    return blank


@pytest.fixture
def stopped(up: Vmctl) -> Vmctl:
    """A project whose VM was stopped."""
    up("down", "--timeout", "0")
    return up


def _pid(vmctl: Vmctl) -> int:
    return int((vmctl.home("blank") / "pid").read_text())


def _is_gone(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()  # it waits for its parent
    except FileNotFoundError:
        return True


# The project


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_project_that_was_renamed(up: Vmctl, gallery: Gallery, command: str) -> None:
    """The project's directory was renamed while its VM ran."""
    there = up.directory.with_name("renamed")
    up.directory.rename(there)
    up.directory.mkdir()  # whoever cleans up behind the test works there
    moved = Vmctl(there, up.data)
    gallery.shows(
        moved(command, status=None),
        "vm_manager::vm::foreign",
        place=None,
        says=("is gone: if this VMFile is the same one, moved or renamed, take the VM over",),
        never=("--file",),
    )
    gallery.fix(moved, "--adopt")
    gallery.works(moved(command, *(("--timeout", "0") if command == "down" else ())))


def test_a_drive_that_was_renamed(stopped: Vmctl, gallery: Gallery) -> None:
    """A drive got another name in the VMFile, which makes another drive of it."""
    text = (stopped.directory / "VMFile.kdl").read_text()

    def named(name: str) -> None:
        stopped.write(text.replace("memory 64", f'memory 64\n    drive "{name}" size=1'))

    named("data")
    stopped("up")
    before = (stopped.home("blank") / "drives" / "data.qcow2").stat().st_ino
    stopped("down", "--timeout", "0")
    named("archive")
    planned = stopped("plan").stdout
    gallery.shows(
        stopped("up", status=None),
        None,
        place=None,
        says=(
            "drive 'data' is no longer attached; its disk is kept",
            "drive 'archive' is attached, with a new empty disk",
        ),
    )
    assert "drive 'data' is no longer attached" in planned
    gallery.by_hand("is no longer attached")
    named("data")
    reloaded = stopped("reload", "--timeout", "0")
    gallery.works(reloaded)
    assert "drive 'archive' is no longer attached; its disk is kept" in reloaded.stderr
    assert (stopped.home("blank") / "drives" / "data.qcow2").stat().st_ino == before


def test_a_port_that_a_renamed_vm_has(up: Vmctl, gallery: Gallery) -> None:
    """A VM was renamed in the VMFile, and runs on under its old name, on the port that the new one wants."""
    text = (up.directory / "VMFile.kdl").read_text()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    forward = f'network "user" {{ forward host={port} guest=80; }}'
    up.write(text.replace("memory 64", f"memory 64\n    {forward}"))
    up("down", "--timeout", "0")
    up("up")
    up.write((up.directory / "VMFile.kdl").read_text().replace('vm "blank"', 'vm "renamed"'))
    gallery.shows(
        up("up", status=None),
        "vm_manager::network::port_in_use",
        place="VMFile.kdl:4:30",
        says=("is in use by VM 'blank'",),
        never=("pid",),
    )
    gallery.fix(up, "vmctl stop blank")
    gallery.works(up("up"))


# The record


def test_a_record_that_was_cut(stopped: Vmctl, gallery: Gallery) -> None:
    """The record of a stopped VM was cut in the middle, by a full disk for example."""
    record = stopped.home("blank") / "vm.json"
    record.write_bytes(record.read_bytes()[:100])
    gallery.shows(
        stopped("up", status=None),
        _CORRUPT,
        place=None,
        says=("is not readable", "restore it as vmctl wrote it last"),
        never=("destroy",),
    )
    gallery.fix(stopped, "cp ")
    gallery.works(stopped("up"))


def test_an_empty_record(up: Vmctl, gallery: Gallery) -> None:
    """The record of a running VM is empty, and the VM is to be stopped."""
    (up.home("blank") / "vm.json").write_bytes(b"")
    gallery.shows(
        up("down", status=None),
        _CORRUPT,
        place=None,
        says=("is not readable", "the VM is running", "restore it as vmctl wrote it last"),
        never=("destroy",),
    )
    gallery.fix(up, "cp ")
    gallery.works(up("down", "--timeout", "0"))
    assert qemu_processes(up.data) == []


def test_a_record_and_its_copy_that_are_both_damaged(up: Vmctl, gallery: Gallery) -> None:
    """The record of a running VM and vmctl's copy of it are both damaged."""
    home = up.home("blank")
    kept = (home / "vm.json").read_bytes()
    for name in ("vm.json", "vm.json.bak"):
        (home / name).write_text("{")
    gallery.shows(
        up("status", "blank", status=None),
        _CORRUPT,
        place=None,
        says=("is not readable", "the VM is running", "from a backup of yours", "with its disk"),
        never=("destroy",),
    )
    gallery.by_hand("`vmctl stop blank`")
    up("stop", "blank", "--timeout", "0")
    assert qemu_processes(up.data) == []
    (home / "vm.json").write_bytes(kept)
    gallery.works(up("up"))


def test_a_vm_whose_record_is_lost(stopped: Vmctl, gallery: Gallery) -> None:
    """The record of a stopped VM and vmctl's copy of it were deleted; its disk is there."""
    for name in ("vm.json", "vm.json.bak"):
        (stopped.home("blank") / name).unlink()
    gallery.shows(
        stopped("up", status=None),
        _CORRUPT,
        place=None,
        says=("vm.json is missing", "from a backup of yours", "set the VM aside with its disk"),
        never=("destroy", "no VM of vmctl's"),
    )
    gallery.fix(stopped, "mv ")
    assert (stopped.directory / "blank.lost" / "overlay.qcow2").exists()
    gallery.works(stopped("up"))


def test_a_record_that_is_lost_but_for_its_copy(stopped: Vmctl, gallery: Gallery) -> None:
    """The record of a VM was deleted; vmctl's copy of it is there."""
    (stopped.home("blank") / "vm.json").unlink()
    gallery.shows(
        stopped("start", "blank", status=None),
        _CORRUPT,
        place=None,
        says=("vm.json is missing", "restore it as vmctl wrote it last"),
        never=("destroy",),
    )
    gallery.fix(stopped, "cp ")
    gallery.works(stopped("start", "blank"))


def test_a_record_of_a_newer_vmctl(up: Vmctl, gallery: Gallery) -> None:
    """The VM was made by a newer vmctl than this one; it runs, and is to be stopped."""
    home = up.home("blank")
    kept = (home / "vm.json").read_bytes()
    for name in ("vm.json", "vm.json.bak"):
        (home / name).write_text(json.dumps({**json.loads(kept), "schema": RECORD_SCHEMA + 1}))
    gallery.shows(
        up("down", status=None),
        _CORRUPT,
        place=None,
        says=("was written by a newer vmctl", "update vmctl", "the VM is running"),
        never=("destroy", "restore"),
    )
    gallery.by_hand("`vmctl stop blank`")
    up("stop", "blank", "--timeout", "0")
    assert qemu_processes(up.data) == []
    (home / "vm.json").write_bytes(kept)  # which the newer one reads
    gallery.works(up("up"))


def test_a_directory_that_was_copied(stopped: Vmctl, gallery: Gallery) -> None:
    """The directory of a VM was copied, in order to have another VM like it."""
    subprocess.run(["cp", "-a", str(stopped.home("blank")), str(stopped.home("second"))], check=True)
    gallery.shows(
        stopped("start", "second", status=None),
        _CORRUPT,
        place=None,
        says=("belongs to another VM", "set the VM aside"),
        never=("destroy",),
    )
    gallery.fix(stopped, "mv ")
    gallery.works(stopped("list"))


# A VM that runs without its files


def test_a_directory_that_was_deleted(up: Vmctl, gallery: Gallery) -> None:
    """The directory of a VM was deleted while it was running, and the VM is to be brought up again."""
    pid = _pid(up)
    shutil.rmtree(up.home("blank"))
    gallery.shows(
        up("up", status=None),
        _STRAY,
        place=None,
        says=(
            f"VM 'blank' still runs (pid {pid})",
            "was deleted",
            "the disk was deleted, too",
            "run `sync` before",
            "save its disk",
        ),
    )
    gallery.fix(up, "cp --sparse=always")
    subprocess.run(["qemu-img", "check", "-q", str(up.directory / f"blank-{pid}.qcow2")], check=True)
    assert _is_gone(pid)
    gallery.works(up("up"))


def test_down_after_the_directory_was_deleted(up: Vmctl, gallery: Gallery) -> None:
    """The directory of a VM was deleted while it was running, and the VM is to be stopped."""
    pid = _pid(up)
    shutil.rmtree(up.home("blank"))
    gallery.shows(
        up("down", status=None), _STRAY, place=None, says=("still runs", "was deleted"), never=("does not exist",)
    )
    gallery.by_hand("or only stop it: `vmctl stop blank`")
    up("stop", "blank")
    assert _is_gone(pid)
    gallery.works(up("down"))


def test_a_list_after_the_directory_was_deleted(up: Vmctl, gallery: Gallery) -> None:
    """The directory of a VM was deleted while it was running, and VMs are listed."""
    pid = _pid(up)
    shutil.rmtree(up.home("blank"))
    gallery.shows(
        up("list"),
        None,
        place=None,
        says=("warning[vm_manager::vm::stray]", f"still runs (pid {pid})", "save its disk"),
    )
    gallery.by_hand("`vmctl stop blank`")
    up("destroy", "blank")  # as good
    assert _is_gone(pid)
    gallery.works(up("list"))
    assert up("list").stderr == ""


def test_a_data_directory_that_was_deleted(up: Vmctl, gallery: Gallery) -> None:
    """The whole data directory was deleted while a VM was running."""
    pid = _pid(up)
    shutil.rmtree(up.data)
    gallery.shows(up("status", "blank", status=None), _STRAY, place=None, says=("still runs", "was deleted"))
    gallery.by_hand("or only stop it: `vmctl stop blank`")
    up("stop", "blank")
    assert _is_gone(pid)
    gallery.works(up("up"))


def test_a_directory_that_was_moved(up: Vmctl, gallery: Gallery) -> None:
    """The directory of a VM was moved away while it was running."""
    pid = _pid(up)
    up.home("blank").rename(up.directory / "away")
    gallery.shows(
        up("up", status=None),
        _STRAY,
        place=None,
        says=("still runs", "was moved to", "move it back"),
        never=("deleted",),
    )
    gallery.fix(up, "mv ")
    gallery.works(up("up"))
    assert _pid(up) == pid


def test_a_vm_that_was_renamed_by_hand(up: Vmctl, gallery: Gallery) -> None:
    """The directory of a running VM was given another name."""
    pid = _pid(up)
    up.home("blank").rename(up.home("second"))
    gallery.shows(
        up("up", status=None),
        _STRAY,
        place=None,
        says=("still runs", "was moved to", "move it back"),
        never=("deleted",),
    )
    gallery.fix(up, "mv ")
    gallery.works(up("up"))
    assert _pid(up) == pid


def test_a_record_and_a_journal_that_were_deleted(up: Vmctl, gallery: Gallery) -> None:
    """All that vmctl knew of a running VM was deleted, but not its disk."""
    pid, home = _pid(up), up.home("blank")
    kept = (home / "vm.json").read_bytes()
    for name in ("vm.json", "vm.json.bak", "journal.jsonl"):
        (home / name).unlink()
    gallery.shows(
        up("up", status=None),
        _STRAY,
        place=None,
        says=("still runs", "vm.json was deleted", "its guest is not asked to shut down by that"),
        never=("destroy", "no VM of vmctl's"),
    )
    gallery.fix(up, "kill")
    wait_for(lambda: _is_gone(pid), "QEMU")
    (home / "vm.json").write_bytes(kept)
    gallery.works(up("up"))


# The image below the disk


def test_an_image_that_was_replaced_by_another(stopped: Vmctl, gallery: Gallery) -> None:
    """The image that a VM's disk stands on was replaced by a newer one."""
    base = stopped.directory / "blank.qcow2"
    base.rename(base.with_name("before.qcow2"))
    blank_disk(stopped.directory, "32M")
    gallery.shows(
        stopped("up", status=None),
        _CHANGED,
        place=None,
        says=("is not the image that the disk was created from", "then: ", "now: ", "put the original image back"),
        never=("destroy", "recreate"),
    )
    gallery.by_hand("put the original image back")
    base.with_name("before.qcow2").rename(base)
    gallery.works(stopped("up"))


def test_an_image_that_was_replaced_and_is_wanted_all_the_same(stopped: Vmctl, gallery: Gallery) -> None:
    """The image that a VM's disk stands on was written to, and the VM shall run on it all the same."""
    base = stopped.directory / "blank.qcow2"
    with base.open("ab") as file:
        file.write(b"\0" * 65536)
    gallery.shows(
        stopped("start", "blank", status=None),
        _CHANGED,
        place=None,
        says=("is not the image that the disk was created from", "keep a copy of it"),
        never=("destroy", "recreate"),
    )
    gallery.fix(stopped, "--accept-base")
    assert (stopped.directory / "blank-overlay-copy.qcow2").exists()
    stopped("down", "--timeout", "0")
    gallery.works(stopped("up"))


def test_an_image_that_was_touched_below_a_vm_of_an_early_vmctl(stopped: Vmctl, gallery: Gallery) -> None:
    """The image of a VM was touched; an early vmctl made the VM, and did not note what was in the image."""
    path = stopped.home("blank") / "vm.json"
    record = stopped.record("blank")
    record["base_image"]["content"] = None
    path.write_text(json.dumps(record))
    os.utime(stopped.directory / "blank.qcow2")
    gallery.shows(
        stopped("up", status=None),
        _CHANGED,
        place=None,
        says=("the timestamp of the image", "does not know what was in it", "if its content is the same"),
        never=("destroy", "recreate", "is not the image"),
    )
    gallery.fix(stopped, "--accept-base")
    stopped("down", "--timeout", "0")
    os.utime(stopped.directory / "blank.qcow2")
    gallery.works(stopped("up"))


def test_an_image_that_was_moved(stopped: Vmctl, gallery: Gallery) -> None:
    """The image that a VM's disk stands on was moved to another directory."""
    base = stopped.directory / "blank.qcow2"
    (stopped.directory / "images").mkdir()
    base.rename(stopped.directory / "images" / "blank.qcow2")
    gallery.shows(
        stopped("start", "blank", status=None),
        "vm_manager::image::base_missing",
        place=None,
        says=("no longer exists", "put the image back, or a link to where it is now"),
        never=("destroy", "recreate"),
    )
    gallery.by_hand("a link to where it is now")
    base.symlink_to("images/blank.qcow2")
    gallery.works(stopped("start", "blank"))


def test_an_image_that_was_touched(stopped: Vmctl, gallery: Gallery) -> None:
    """The image of a VM was touched; its content is what it was."""
    os.utime(stopped.directory / "blank.qcow2")
    result = stopped("up")
    gallery.shows(result, None, place=None, says=("has changed: comparing its content", "started"))
    gallery.by_hand("comparing its content")
    gallery.works(result)


def test_an_image_that_was_put_back(stopped: Vmctl, gallery: Gallery) -> None:
    """The image of a VM was put back from a backup, by cp, which keeps no times."""
    base = stopped.directory / "blank.qcow2"
    shutil.copyfile(base, base.with_name("backup"))
    base.with_name("backup").replace(base)
    result = stopped("start", "blank")
    gallery.shows(result, None, place=None, says=("has changed: comparing its content", "started"))
    gallery.by_hand("comparing its content")
    gallery.works(result)
