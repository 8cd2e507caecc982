"""A Debian that boots with UEFI firmware, has drives of its own, and goes on after it was saved."""

from __future__ import annotations

from pathlib import Path

from driver import Vmctl

_VM = """\
vm "efi" {{
    image "{image}"
    vcpus 2
    memory 1024
    firmware "uefi"
    drive "data" size=1
    drive "logs" size="512MiB"
    ssh {{}}
    provision "shell" {{ inline "{make}"; }}
}}
"""
_MAKE = "test -d /sys/firmware/efi && for d in data logs; do sudo mkfs.ext4 -q /dev/disk/by-id/virtio-$d; done"
_MOUNT = "sudo mount /dev/disk/by-id/virtio-data /mnt"


def test_debian_with_uefi_and_two_drives(vmctl: Vmctl, debian_image: Path) -> None:
    vmctl.write(_VM.format(image=debian_image, make=_MAKE))
    vmctl("up")
    vmctl("ssh", "efi", "--", f"{_MOUNT} && echo kept | sudo tee /mnt/file && sync")
    vmctl("suspend", "--to-disk", "efi")
    vmctl("resume", "efi")
    assert vmctl("ssh", "efi", "--", "cat /mnt/file").stdout == "kept\n"
    # A VM that takes its place has the drives, and what is on them.
    vmctl("reload", "--no-provision")
    assert vmctl("ssh", "efi", "--", f"{_MOUNT} && cat /mnt/file").stdout == "kept\n"
