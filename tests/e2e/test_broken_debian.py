"""A Debian guest that does not come up: what real init systems and cloud-init say then, and what vmctl makes of it."""

from __future__ import annotations

from pathlib import Path

from broken_guests import debian_without_root
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
