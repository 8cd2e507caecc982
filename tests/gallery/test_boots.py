"""Guests that do not boot, or not to the end"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from broken_guests import RESTARTS, boot_sector, tiny_rc, tiny_with, without_root_file_system
from conftest import TinyGuest
from driver import Vmctl
from first_screen import Gallery
from proofs import prove

_BOOT_FAILED, _PANICKED = "vm_manager::guest::boot_failed", "vm_manager::guest::panicked"
_PROMPT = r"printf '\nDebian GNU/Linux 12 web ttyS0\n\nweb login: ' >/dev/console; sleep 100000"
# Beside the tiny guest's own shell on the console, which would be at the end of it.
_QUIET = {"etc/inittab": "::sysinit:/etc/rc\n"}
# As a Debian says it whose /etc/fstab names a file system that does not exist.
_EMERGENCY = r"""
[ TIME ] Timed out waiting for device dev-vdb1.device - /dev/vdb1.
[DEPEND] Dependency failed for data.mount - /data.
[DEPEND] Dependency failed for local-fs.target - Local File Systems.
You are in emergency mode. After logging in, type "journalctl -xb" to view
system logs, "systemctl reboot" to reboot, "systemctl default" or "exit"
to boot into default mode.

Cannot open access to console, the root account is locked.
See sulogin(8) man page for more details.

Press Enter to continue.
[  OK  ] Started systemd-networkd.service - Network Configuration.
[  OK  ] Finished cloud-init.service - Initial cloud-init job (metadata service crawler).
[  OK  ] Reached target network-online.target - Network is Online.
"""
_INITRAMFS = """\
#!/bin/sh
mount -t devtmpfs devtmpfs /dev
exec >/dev/ttyS0 2>&1 </dev/ttyS0
echo 'ALERT!  /dev/vda9 does not exist.  Dropping to a shell!'
PS1='(initramfs) ' exec /bin/busybox sh -i
"""


@pytest.fixture
def boot(vmctl: Vmctl, tiny: TinyGuest) -> Callable[[Path], Vmctl]:
    """A project with the VM `web`, on this disk."""

    def boot(disk: Path) -> Vmctl:
        vmctl.write(tiny.vm("web", 'accel "tcg"', image=f'image "{disk}"'))
        return vmctl

    return boot


_Boot = Callable[[Path], Vmctl]


@pytest.fixture
def disk(vmctl: Vmctl) -> Path:
    """Where the disk is made."""
    return vmctl.directory / "disk.raw"


_seen_to_boot: set[Path] = set()


def _with_the_right_image(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """The person has mended the image, and replaces the VM. It is the same image each time, so it is booted once only."""
    vmctl.write(tiny.vm("web", 'accel "tcg"'))
    if tiny.image in _seen_to_boot:
        vmctl("destroy", "web")
        gallery.works(vmctl("up", "--wait", "none"))
    else:
        gallery.works(vmctl("reload", "web"))
        _seen_to_boot.add(tiny.image)


def test_an_empty_disk(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The image has nothing on it that could be booted."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(disk), "16M"], check=True)
    vmctl = boot(disk)
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the firmware found nothing bootable", "No bootable device", "the guest's screen"),
        never=("openssh",),
    )
    failure = vmctl("status", "web", "--json").json["vm"]["last_failure"]
    assert (failure["operation"], failure["code"]) == ("wait", _BOOT_FAILED)
    gallery.by_hand("use a whole-disk image with a boot loader")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_boot_loader_at_its_prompt(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """GRUB finds neither its configuration nor a kernel."""
    vmctl = boot(without_root_file_system(tiny.image, disk))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the boot loader stopped at its prompt", "unknown filesystem", "| grub>"),
        never=("openssh",),
    )
    gallery.by_hand("the boot loader found no configuration or kernel")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_boot_loader_on_the_screen_only(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The same with a GRUB that does not use the serial console."""
    vmctl = boot(without_root_file_system(tiny.image, disk, serial=False))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the boot loader stopped at its prompt", "the guest's screen", "| grub>"),
        never=("the guest's console (",),
    )
    assert (vmctl.home("web") / "console.log").read_bytes() == b""
    gallery.by_hand("the boot loader found no configuration or kernel")
    _with_the_right_image(vmctl, tiny, gallery)


def test_an_image_for_bios_under_uefi(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """The VMFile wants UEFI, and the image has a boot loader for BIOS only."""
    vmctl.write(tiny.vm("web", 'accel "tcg"\n    firmware "uefi"'))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the firmware stopped at its own shell: it found nothing to boot", "| Shell>"),
        never=("boot-timeout",),
    )
    gallery.by_hand('leave out `firmware "uefi"`')
    _with_the_right_image(vmctl, tiny, gallery)


def test_no_root_on_the_command_line(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The boot loader gives the kernel no root=."""
    vmctl = boot(tiny_with(tiny.image, disk, options="rdinit=/none"))
    gallery.shows(
        vmctl("up", status=None),
        _PANICKED,
        place=None,
        says=("panicked while it booted: it was given no root file system", "Cannot open root device"),
    )
    gallery.by_hand("the boot loader passes no `root=` to the kernel")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_root_that_does_not_exist(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """root= names a disk that the kernel does not find."""
    vmctl = boot(tiny_with(tiny.image, disk, options="rdinit=/none root=/dev/vda9"))
    result = vmctl("up", status=None)
    prove(result, "vm_manager::guest::panicked", evidence="Kernel panic - not syncing: VFS: Unable to mount root fs")
    gallery.shows(
        result,
        _PANICKED,
        place=None,
        says=("it could not mount its root file system", 'Cannot open root device "vda9"'),
    )
    gallery.by_hand("check `root=` in the image's boot loader")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_panic_on_the_screen_only(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The kernel panics, and its command line has no console=ttyS0."""
    vmctl = boot(tiny_with(tiny.image, disk, options="rdinit=/none root=/dev/vda9", serial=False))
    gallery.shows(
        vmctl("up", status=None),
        _PANICKED,
        place=None,
        says=(
            "it could not mount its root file system",
            "the guest's screen",
            # Whole, although it takes two rows of the screen.
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        ),
        never=("SeaBIOS",),
    )
    gallery.by_hand("check `root=` in the image's boot loader")
    _with_the_right_image(vmctl, tiny, gallery)


def test_an_init_that_ends(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The first program of the guest ends."""
    ends = {"ends": "#!/bin/sh\necho 'init: cannot read /etc/rc.conf' >/dev/ttyS0\nexit 1\n"}
    vmctl = boot(tiny_with(tiny.image, disk, options="rdinit=/ends", files=ends))
    gallery.shows(
        vmctl("up", status=None),
        _PANICKED,
        place=None,
        says=("panicked while it booted: its init program ended", "Attempted to kill init"),
    )
    gallery.by_hand("check the image and `init=` in its boot loader")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_panic_that_qemu_is_told_of(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The kernel panics late, with the driver that tells QEMU, and without a serial console."""
    panics = tiny_rc(ifconfig="echo c >/proc/sysrq-trigger")
    vmctl = boot(tiny_with(tiny.image, disk, files=panics, serial=False))
    gallery.shows(
        vmctl("up", status=None),
        _PANICKED,
        place=None,
        says=("the guest's kernel panicked", "the guest's screen", "Kernel panic - not syncing: sysrq triggered crash"),
    )
    gallery.by_hand("`vmctl restart web` reboots it")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_shell_of_the_initramfs(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The initramfs does not find the root file system, and offers a shell."""
    vmctl = boot(tiny_with(tiny.image, disk, options="rdinit=/lost", files={"lost": _INITRAMFS}))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the guest's boot ended in an emergency shell", "ALERT!  /dev/vda9 does not exist", "(initramfs)"),
        never=("openssh",),
    )
    gallery.by_hand("the guest has no /dev/vda9: correct `root=`")
    _with_the_right_image(vmctl, tiny, gallery)


def test_the_emergency_mode_of_a_cloud_image(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """A line of /etc/fstab names a disk that does not exist, and root may not log in: systemd's emergency mode."""
    says = "".join(f"echo '{line}' >/dev/console\n" for line in _EMERGENCY.splitlines())
    files = {**tiny_rc(ifconfig=says + "sleep 100000"), **_QUIET}
    vmctl = boot(tiny_with(tiny.image, disk, files=files))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=(
            "ended in emergency mode: /data could not be mounted",
            "[DEPEND] Dependency failed for data.mount - /data.",
        ),
        never=("openssh",),
    )
    gallery.by_hand("correct the line of /data in the image's /etc/fstab")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_guest_that_restarts_again_and_again(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The guest resets itself as soon as it runs."""
    vmctl = boot(boot_sector(disk, RESTARTS))
    gallery.shows(
        vmctl("up", status=None), _BOOT_FAILED, place=None, says=("the guest keeps rebooting",), never=("openssh",)
    )
    gallery.by_hand("its console or screen shows how far it gets")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_guest_that_powers_itself_off(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The guest switches itself off before anybody could log in."""
    off = tiny_rc(ifconfig="echo 'no licence: powering off' >/dev/console; poweroff -f")
    vmctl = boot(tiny_with(tiny.image, disk, files=off))
    gallery.shows(
        vmctl("up", status=None),
        "vm_manager::qemu::exited",
        place=None,
        says=("the guest powered itself off", "no licence: powering off"),
    )
    gallery.by_hand("its console shows why")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_guest_without_an_address(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The guest is up and asks for a login on its console, but does not use DHCP."""
    files = {**tiny_rc(udhcpc=":", echo=_PROMPT), **_QUIET}
    vmctl = boot(tiny_with(tiny.image, disk, files=files))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the guest booted, but its network does not answer", "web login:", "vmctl console web"),
        never=("openssh", "cloud-init"),
    )
    gallery.by_hand("the guest needs DHCP on its first network card")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_guest_without_sshd(boot: _Boot, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """The guest is up and asks for a login on its console, but its sshd is masked."""
    files = {**tiny_rc(dropbear=":", echo=_PROMPT), **_QUIET}
    vmctl = boot(tiny_with(tiny.image, disk, files=files))
    gallery.shows(
        vmctl("up", status=None),
        _BOOT_FAILED,
        place=None,
        says=("the guest booted, but nothing listens on its SSH port", "web login:"),
    )
    gallery.by_hand("install openssh-server in the image and enable it")
    _with_the_right_image(vmctl, tiny, gallery)


def test_a_seed_that_nobody_reads(vmctl: Vmctl, disk: Path, tiny: TinyGuest, gallery: Gallery) -> None:
    """cloud-init is disabled in the image, so that the key is not in the guest."""
    files = {**tiny_rc(echo=_PROMPT), **_QUIET}
    image = tiny_with(tiny.image, disk, files=files)
    vmctl.write(f'vm "web" {{\n    image "{image}"\n    memory 256\n    accel "tcg"\n    cloud-init {{}}\n}}\n')
    gallery.shows(
        vmctl("up", status=None),
        "vm_manager::ssh::auth_failed",
        place=None,
        says=("the guest rejected the key of user", "no sign of cloud-init"),
        never=("AuthenticationException",),
    )
    gallery.by_hand("check that the image or the user-data set up the user and key")
    _with_the_right_image(vmctl, tiny, gallery)
