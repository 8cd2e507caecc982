"""Machines that start with UEFI firmware: a variable store of their own, and a host that has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driver import BLANK, Vmctl, blank_disk
from proofs import prove

# In a namespace of its own, where the firmware is not installed.
_HIDE = "for directory in /usr/share/qemu/firmware /usr/share/OVMF; do mount -t tmpfs tmpfs $directory; done"
_WITHOUT_FIRMWARE = ("unshare", "-m", "sh", "-c", f'{_HIDE}; exec "$@"', "sh")


@pytest.fixture
def uefi(vmctl: Vmctl) -> Vmctl:
    """A VM without a guest that starts with UEFI."""
    blank_disk(vmctl.directory)
    vmctl.write(BLANK.replace("memory 64", 'memory 128\n    firmware "uefi"'))
    return vmctl


def test_a_machine_has_variables_of_its_own_and_keeps_them(uefi: Vmctl) -> None:
    uefi("up")
    store = uefi.home("blank") / "efivars.qcow2"
    assert store.stat().st_mode & 0o777 == 0o600
    assert "Firmware:     uefi" in uefi("status", "blank").stdout
    uefi("snapshot", "create", "blank", "running")
    uefi("snapshot", "restore", "blank", "running")
    uefi("suspend", "--to-disk", "blank")
    uefi("resume", "blank")
    uefi("down", "--timeout", "0")
    uefi("snapshot", "create", "blank", "off")
    assert [kept["tag"] for kept in uefi("snapshot", "list", "blank", "--json").json["snapshots"]] == ["running", "off"]
    for tag in ("running", "off"):
        uefi("snapshot", "delete", "blank", tag)
    inode = store.stat().st_ino
    uefi("up")
    assert store.stat().st_ino == inode
    uefi("reload", "--timeout", "0")


def _start_as(vmctl: Vmctl, text: str) -> None:
    vmctl("down", "--timeout", "0")
    vmctl.write(text)
    vmctl("up")


def test_a_snapshot_of_other_firmware_says_so_and_is_deleted_from_the_variables_too(uefi: Vmctl) -> None:
    with_uefi = (uefi.directory / "VMFile.kdl").read_text()
    with_bios = with_uefi.replace('"uefi"', '"bios"')
    uefi.write(with_bios)
    uefi("up")
    uefi("snapshot", "create", "blank", "bios")
    _start_as(uefi, with_uefi)
    refused = uefi("snapshot", "restore", "blank", "bios", status=5)
    assert "snapshot 'bios' was taken without the UEFI variables" in refused.stderr
    assert 'write `firmware "bios"` in the VMFile' in refused.stderr
    uefi("snapshot", "create", "blank", "uefi")
    _start_as(uefi, with_bios)
    uefi("snapshot", "delete", "blank", "uefi")
    _start_as(uefi, with_uefi)
    kept = uefi("snapshot", "list", "blank", "--json").json["snapshots"]
    assert [(it["tag"], it["without"]) for it in kept] == [("bios", ["the UEFI variables"])]


def test_a_machine_moves_with_its_variables(uefi: Vmctl) -> None:
    uefi("up")
    there = replace(uefi, data=uefi.data.parent / "there")
    (there.data / "vmctl").mkdir(parents=True)
    try:
        uefi("migrate", "blank", "--to", str(there.data / "vmctl"))
        assert there("list", "--json").json["vms"][0]["state"] == "running"
        assert (there.home("blank") / "efivars.qcow2").stat().st_size > 0
    finally:
        there.destroy_all()


def test_create_takes_it_as_an_option(uefi: Vmctl) -> None:
    uefi("create", "--name", "box", "--image", "blank.qcow2", "--uefi")
    assert uefi("status", "box", "--json").json["vm"]["firmware"] == "uefi"
    assert (uefi.home("box") / "efivars.qcow2").exists()


def test_a_host_without_firmware_is_told_before_anything_is_made(uefi: Vmctl) -> None:
    poor = replace(uefi, prefix=_WITHOUT_FIRMWARE)
    result = poor("up", status=None)
    prove(result, "vm_manager::host::missing_firmware", evidence="none that fits")
    assert "apt-get install ovmf" in result.stderr
    assert uefi("list", "--quiet").stdout == ""
    # What the help proposes besides: the same VM with BIOS.
    uefi.write(BLANK)
    poor("up")
