"""Guests of another architecture than this host's: an aarch64 Linux, emulated."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from driver import BLANK, Vmctl, blank_disk, build, wait_for, without_tool
from proofs import prove

pytestmark = [
    pytest.mark.xdist_group("arm"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="aarch64 is no foreign architecture here"),
]

_VM = """vm "arm" {{
    image "{image}"
    arch "aarch64"
    memory 512
    drive "data" size="16MiB"
}}
"""
_HIDE = "for directory in /usr/share/qemu/firmware /usr/share/AAVMF; do mount -t tmpfs tmpfs $directory; done"
_WITHOUT_FIRMWARE = ("unshare", "-m", "sh", "-c", f'{_HIDE}; exec "$@"', "sh")


@pytest.fixture(scope="session")
def arm_image() -> Path:
    return build("build-arm")


def _says(vmctl: Vmctl, text: str) -> None:
    wait_for(lambda: text in vmctl("log", "arm").stdout, text)


def test_an_aarch64_guest_boots_and_is_saved_and_snapshotted(vmctl: Vmctl, arm_image: Path) -> None:
    vmctl.write(_VM.format(image=arm_image))
    plain = vmctl("up")
    assert "warning" not in plain.stderr  # that it is emulated is what was asked for
    _says(vmctl, "tiny: ready on aarch64")
    shown = vmctl("status", "arm").stdout
    assert "Architecture: aarch64" in shown
    assert "Firmware:     uefi" in shown
    assert "tcg (this host cannot run aarch64 code itself)" in shown
    vmctl("screenshot", "arm")
    assert (vmctl.directory / "arm.png").read_bytes().startswith(b"\x89PNG")
    vmctl("snapshot", "create", "arm", "booted")
    vmctl("suspend", "--to-disk", "arm")
    assert vmctl("resume", "arm").stdout.startswith("arm: restored")
    vmctl("snapshot", "restore", "arm", "booted")
    assert vmctl("list", "--json").json["vms"][0]["state"] == "running"


def _blank(vmctl: Vmctl, *lines: str) -> None:
    blank_disk(vmctl.directory)
    vmctl.write(BLANK.replace('    accel "tcg"\n', "".join(f"    {line}\n" for line in ('arch "aarch64"', *lines))))


def test_the_package_that_is_missing_is_named_before_anything_is_made(vmctl: Vmctl) -> None:
    _blank(vmctl)
    result = without_tool(vmctl, "qemu-system-aarch64")("up", status=None)
    prove(result, "vm_manager::qemu::spawn_failed")
    assert "QEMU for aarch64 guests is not installed" in result.stderr
    assert "apt-get install qemu-system-arm" in result.stderr
    result = replace(vmctl, prefix=_WITHOUT_FIRMWARE)("up", status=None)
    prove(result, "vm_manager::host::missing_firmware", evidence="none that fits")
    assert "no UEFI firmware for aarch64 guests" in result.stderr
    assert "apt-get install qemu-efi-aarch64" in result.stderr
    assert "BIOS" not in result.stderr
    assert vmctl("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('accel "kvm"', "under KVM on a host that is x86_64"),
        ('cpu "host"', "under KVM on a host that is x86_64"),
        ('firmware "bios"', "aarch64 machines have no BIOS"),
    ],
)
def test_what_such_a_machine_cannot_have_is_refused_by_validate(vmctl: Vmctl, line: str, says: str) -> None:
    _blank(vmctl, line)
    result = vmctl("validate", status=3)
    assert says in result.stderr
    _blank(vmctl)
    vmctl("validate")


def test_kvm_by_an_option_is_refused_with_what_to_do(vmctl: Vmctl) -> None:
    _blank(vmctl)
    result = vmctl("up", "--accel", "kvm", status=None)
    prove(result, "vm_manager::host::kvm_unusable")
    assert "KVM cannot run aarch64 guests on this host, which is x86_64" in result.stderr


def test_create_takes_it_as_an_option(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    vmctl("create", "--name", "box", "--image", "blank.qcow2", "--arch", "aarch64")
    shown = vmctl("status", "box", "--json").json["vm"]
    assert (shown["arch"], shown["firmware"]) == ("aarch64", "uefi")
    assert "must be x86_64 or aarch64" in vmctl("create", "--name", "b", "--arch", "mips", status=2).stderr
