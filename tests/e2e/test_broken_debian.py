"""A Debian guest that does not come up: what real init systems and cloud-init say then, and what vmctl makes of it."""

from __future__ import annotations

from pathlib import Path

from broken_guests import debian_with, debian_without_root
from driver import Vmctl
from proofs import prove

_VM = """\
vm "broken" {{
    image "{image}"
    vcpus 2
    memory 1024
    cloud-init {{ hostname "broken"; }}
    ssh {{}}
}}
"""


def test_a_root_file_system_that_does_not_exist_ends_in_the_initramfs(vmctl: Vmctl, debian_image: Path) -> None:
    disk = debian_without_root(debian_image, vmctl.directory / "disk.raw")
    vmctl.write(_VM.format(image=disk.name))
    result = vmctl("up", status=10)
    prove(result, "vm_manager::guest::boot_failed", evidence="ALERT!  /dev/none does not exist.  Dropping to a shell!")
    assert "the guest's boot ended in an emergency shell" in result.stderr
    assert "| (initramfs)" in result.stderr


def test_a_line_of_fstab_that_fails_ends_in_an_emergency_mode_without_a_login(vmctl: Vmctl, debian_image: Path) -> None:
    """The root account is locked, as in every cloud image."""
    missing = "UUID=00000000-dead-beef-0000-000000000000 /data ext4 defaults,x-systemd.device-timeout=5s 0 2\n"
    root = "UUID=c10d0012-0000-4000-8000-000000000012 / ext4 defaults 0 1\n"
    disk = debian_with(debian_image, vmctl.directory / "disk.raw", files={"fstab": root + missing})
    vmctl.write(_VM.format(image=disk.name))
    result = vmctl("up", status=10)
    assert "the guest's boot ended in emergency mode: /data could not be mounted" in result.stderr
    assert "You are in emergency mode" in result.stderr
    assert "openssh" not in result.stderr


def test_an_sshd_that_is_masked(vmctl: Vmctl, debian_image: Path) -> None:
    vmctl.write(_VM.format(image=debian_with(debian_image, vmctl.directory / "disk.raw", masked="ssh.service").name))
    result = vmctl("up", status=10)
    assert "the guest booted, but nothing listens on its SSH port" in result.stderr
    assert "Cloud-init v. " in result.stderr


def test_a_seed_that_cloud_init_does_not_find(vmctl: Vmctl, debian_image: Path) -> None:
    vmctl.write(_VM.format(image=debian_image))
    vmctl("up", "--wait", "none")
    # Before cloud-init could have seen it.
    vmctl("stop", "broken", "--timeout", "0")
    seed = vmctl.home("broken") / "seed.iso"
    seed.write_bytes(bytes(seed.stat().st_size))
    result = vmctl("up", status=10)
    prove(result, "vm_manager::cloudinit::failed", evidence="DataSourceNone")
    assert "cloud-init did not find its seed in the guest" in result.stderr
