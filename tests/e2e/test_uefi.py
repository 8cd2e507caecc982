"""A Debian that boots with UEFI firmware, has drives and a shared directory, and goes on after it was saved."""

from __future__ import annotations

import os
from pathlib import Path

from driver import Vmctl, wait_for

_VM = """\
vm "efi" {{
    image "{image}"
    vcpus 2
    memory 1024
    firmware "uefi"
    drive "data" size=1
    drive "logs" size="512MiB"
    {mount}
    ssh {{}}
    provision "shell" {{ inline "{make}"; }}
}}
"""
_SHARE = 'mount "src, of \\"web\\"" "/srv/my src"'
_MAKE = "test -d /sys/firmware/efi && for d in data logs; do sudo mkfs.ext4 -q /dev/disk/by-id/virtio-$d; done"
_MAKE_WITH_SHARE = f"cp '/srv/my src/in' '/srv/my src/out' && {_MAKE}"
_MOUNT = "sudo mount /dev/disk/by-id/virtio-data /mnt"


def test_debian_with_uefi_two_drives_and_a_share(vmctl: Vmctl, debian_image: Path) -> None:
    source = vmctl.directory / 'src, of "web"'
    source.mkdir()
    (source / "in").write_text("shared\n")
    vmctl.write(_VM.format(image=debian_image, make=_MAKE_WITH_SHARE, mount=_SHARE))
    vmctl("up")
    # A step has found it, and its user, who is not root, has written to it.
    assert (source / "out").read_text() == "shared\n"
    assert (source / "out").stat().st_uid == os.geteuid()
    vmctl("ssh", "efi", "--", f"{_MOUNT} && echo kept | sudo tee /mnt/file && sync")
    assert "it has shared directories" in vmctl("suspend", "--to-disk", "efi", status=5).stderr
    # Restarted from within, the guest mounts it by itself.
    before = _boot(vmctl)
    vmctl("ssh", "efi", "--", "sudo systemctl reboot", status=None)
    wait_for(lambda: _boot(vmctl) not in ("", before), "the guest's restart")
    assert vmctl("ssh", "efi", "--", "cat '/srv/my src/out'").stdout == "shared\n"
    # Without the share, nothing of it is left in the guest, and the machine can be saved.
    vmctl.write(_VM.format(image=debian_image, make="true", mount=""))
    vmctl("down")
    vmctl("up")
    assert vmctl("ssh", "efi", "--", "grep -c -e vmctl -e virtiofs /etc/fstab /proc/mounts", status=1).stdout == (
        "/etc/fstab:0\n/proc/mounts:0\n"
    )
    vmctl("ssh", "efi", "--", _MOUNT)
    vmctl("suspend", "--to-disk", "efi")
    vmctl("resume", "efi")
    assert vmctl("ssh", "efi", "--", "cat /mnt/file").stdout == "kept\n"
    # A VM that takes its place has the drives, and what is on them.
    vmctl.write(_VM.format(image=debian_image, make="true", mount=_SHARE))
    vmctl("reload", "--no-provision")
    assert vmctl("ssh", "efi", "--", f"{_MOUNT} && cat /mnt/file '/srv/my src/in'").stdout == "kept\nshared\n"


def _boot(vmctl: Vmctl) -> str:
    """The number of the guest's present boot; empty while nobody gets in."""
    return vmctl("ssh", "efi", "--", "cat /proc/sys/kernel/random/boot_id", status=None).stdout
