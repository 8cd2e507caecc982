"""cloud-init and scripts"""

from __future__ import annotations

from pathlib import Path

from conftest import TinyGuest
from driver import Vmctl
from e2e.debian_guest import generate_key
from first_screen import Gallery

_VALIDATION = "vm_manager::vmfile::validation"
_USER_DATA = """\
#cloud-config
users:
  - {name: vm, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: ['@KEY@']}
runcmd:
  - echo begun
  - [cat, /etc/hunter2]
"""


def test_a_script_with_windows_line_endings(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """A script that begins with #! was saved on Windows."""
    script = vmctl.write("", "setup.sh")
    script.write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    vmctl.write(tiny.vm(body='provision "shell" { script "setup.sh"; }'))
    gallery.shows(
        vmctl("validate", status=None),
        _VALIDATION,
        place="VMFile.kdl:5:32",
        says=("the script has Windows line endings",),
    )
    gallery.by_hand("save it with Unix line endings")
    script.write_bytes(b"#!/bin/sh\ntrue\n")
    gallery.works(vmctl("validate"))


def test_user_data_with_windows_line_endings(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """User-data that is a script was saved on Windows."""
    script = vmctl.write("", "first-boot.sh")
    script.write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    vmctl.write(tiny.vm(body='cloud-init { user-data "first-boot.sh"; }'))
    gallery.shows(
        vmctl("validate", status=None),
        _VALIDATION,
        place="VMFile.kdl:5:28",
        says=("the user-data is a script with Windows line endings",),
    )
    gallery.by_hand("save it with Unix line endings")
    script.write_bytes(b"#!/bin/sh\ntrue\n")
    gallery.works(vmctl("validate"))


def test_a_plain_script_that_validate_warns_of(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """The same without #!, seen before anything is started."""
    script = vmctl.write("", "setup.txt")
    script.write_bytes(b"cd /root\r\nls -l\r\n")
    vmctl.write(tiny.vm(body='provision "shell" { script "setup.txt"; }'))
    gallery.shows(
        vmctl("validate", status=None),
        None,
        place="VMFile.kdl:5:32",
        says=("warning[vm_manager::vmfile::validation]: the script has Windows line endings",),
    )
    gallery.by_hand("save it with Unix line endings")
    script.write_bytes(b"cd /root\nls -l\n")
    again = vmctl("validate")
    assert "warning" not in again.stderr
    gallery.works(again)


def test_a_plain_script_with_windows_line_endings(running: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """A script without #! was saved on Windows, and the shell does not find its commands."""
    script = running.write("", "setup.txt")
    script.write_bytes(b"cd /root\r\nls -l\r\n")
    running.write(tiny.vm(body='provision "shell" { script "setup.txt"; }'))
    assert "warning" in running("validate").stderr
    gallery.shows(
        running("up", status=None),
        "vm_manager::provision::failed",
        place="VMFile.kdl:5:5",
        says=("the script has Windows line endings, which shells do not understand: save it with Unix ones",),
    )
    gallery.by_hand("fix the step, then run `vmctl up`")
    script.write_bytes(b"cd /root\nls -l\n")
    gallery.works(running("up"))


def test_a_command_of_runcmd_that_fails(vmctl: Vmctl, debian_image: Path, gallery: Gallery) -> None:
    """The last command of the user-data's runcmd fails."""
    key = generate_key(vmctl.directory / "key")
    user_data = _USER_DATA.replace("@KEY@", key)
    vmctl.write(user_data, "user-data.yaml")
    cloud_init = 'cloud-init { user-data "user-data.yaml"; }'
    vmctl.write(f'vm "web" {{\n    image "{debian_image}"\n    {cloud_init}\n    ssh {{ private-key "key"; }}\n}}\n')
    gallery.shows(
        vmctl("up", status=None),
        "vm_manager::cloudinit::failed",
        place=f"{vmctl.directory}/user-data.yaml:6:3",
        says=(
            "cloud-init failed in the guest: runcmd",
            "this item failed",
            "cat: /etc/hunter2: No such file or directory",
        ),
        never=("[cat,", "ssh-ed25519 AAAA"),
    )
    gallery.by_hand("fix the user-data, then replace the VM")
    vmctl.write(user_data.replace("[cat, /etc/hunter2]", "[cat, /etc/hostname]"), "user-data.yaml")
    gallery.works(vmctl("reload", "web"))
