"""Guests that are really broken: what `vmctl up` says of each, and how soon."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broken_guests import (
    READS,
    RESTARTS,
    SLEEPS,
    boot_sector,
    tiny_rc,
    tiny_with,
    without_root_file_system,
)
from conftest import TinyGuest
from driver import Result, Vmctl
from proofs import prove
from vm_manager.app.reach import wait_for_guest
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import BootFailed, BootTimeout, VmError
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.events import Event, PhaseReached
from vm_manager.guest.keys import generate_key_pair
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

# Where a boot is plainly over, that is seen long before this, however slow the machine.
_LONG_S = 600


def _vm(vmctl: Vmctl, disk: Path, body: str = "", *, memory: int = 64) -> None:
    text = f'image "{disk.name}"\n    memory {memory}\n    accel "tcg"\n    ssh {{ user "root"; }}\n    {body}'
    vmctl.write(f'vm "odd" {{\n    {text}\n}}\n')


def _up(vmctl: Vmctl, disk: Path, *, memory: int = 64) -> Result:
    _vm(vmctl, disk, f"boot-timeout {_LONG_S}", memory=memory)
    began = time.monotonic()
    result = vmctl("up", status=10)
    assert time.monotonic() - began < _LONG_S / 2
    return result


def test_a_disk_without_anything_to_boot(vmctl: Vmctl) -> None:
    disk = vmctl.directory / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    result = _up(vmctl, disk)
    prove(result, "vm_manager::guest::boot_failed", evidence="No bootable device")
    assert "the firmware found nothing bootable" in result.stderr
    assert "the guest's screen" in result.stderr
    failure = vmctl("status", "odd", "--json").json["vm"]["last_failure"]
    assert (failure["operation"], failure["code"]) == ("wait", "vm_manager::guest::boot_failed")


def test_a_boot_loader_that_waits_at_its_prompt(vmctl: Vmctl, tiny: TinyGuest) -> None:
    result = _up(vmctl, without_root_file_system(tiny.image, vmctl.directory / "disk.raw"))
    assert "error[vm_manager::guest::boot_failed]: the boot loader stopped at its prompt" in result.stderr
    assert "| grub>" in result.stderr
    assert "unknown filesystem" in result.stderr


def test_a_boot_loader_that_speaks_on_the_screen_only(vmctl: Vmctl, tiny: TinyGuest) -> None:
    result = _up(vmctl, without_root_file_system(tiny.image, vmctl.directory / "disk.raw", serial=False))
    assert "the boot loader stopped at its prompt" in result.stderr
    screen = result.stderr.split("evidence: the guest's screen", 1)[1]
    assert "| grub>" in screen
    assert (vmctl.home("odd") / "console.log").read_bytes() == b""


def test_a_kernel_that_panics_before_it_could_tell_qemu(vmctl: Vmctl, tiny: TinyGuest) -> None:
    disk = tiny_with(tiny.image, vmctl.directory / "disk.raw", options="rdinit=/none root=/dev/none")
    result = _up(vmctl, disk, memory=256)
    prove(result, "vm_manager::guest::panicked", evidence="Kernel panic - not syncing: VFS: Unable to mount root fs")


def test_a_guest_that_restarts_again_and_again(vmctl: Vmctl) -> None:
    result = _up(vmctl, boot_sector(vmctl.directory / "disk.raw", RESTARTS))
    assert "error[vm_manager::guest::boot_failed]: the guest keeps rebooting" in result.stderr


def test_a_guest_that_comes_back_with_another_host_key(running: Vmctl) -> None:
    (running.home("tiny") / "known_hosts").write_text(f"tiny {generate_key_pair('x').public}\n")
    result = running("restart", "tiny", status=11)
    assert result.code == "vm_manager::ssh::host_key_mismatch"
    assert "a different SSH host key than the pinned one" in result.stderr


# Waits with limits of their own: those of the backend are made for people.


@pytest.fixture
def wait(vmctl: Vmctl) -> Callable[..., tuple[VmError, list[str]]]:
    """Starts the VM, waits for its guest in vain, and returns why, and the phases it went through."""

    def wait(timeout_s: float, stall_limit_s: float) -> tuple[VmError, list[str]]:
        vmctl("up", "--wait", "none")
        events: list[Event] = []
        services = Services(InstanceStore(DataDir(vmctl.data / "vmctl")), "qemu", events.append, CancelToken())
        with pytest.raises(VmError) as caught:
            wait_for_guest(services, services.store.read("odd"), timeout_s, stall_limit_s=stall_limit_s)
        return caught.value, [event.phase for event in events if isinstance(event, PhaseReached)]

    return wait


_Wait = Callable[..., tuple[VmError, list[str]]]


def test_a_guest_that_hangs_is_given_up_when_nothing_has_moved_for_long_enough(vmctl: Vmctl, wait: _Wait) -> None:
    _vm(vmctl, boot_sector(vmctl.directory / "disk.raw", SLEEPS))
    error, phases = wait(_LONG_S, 10)
    assert isinstance(error, BootTimeout)
    assert "has made no progress for 10 s: still waiting for the guest's network" in str(error)
    assert error.diagnostic.elapsed_s
    assert error.diagnostic.elapsed_s < _LONG_S / 2
    assert "Booting from Hard Disk..." in error.diagnostic.evidence[-1].lines
    assert phases == ["booting"]


def test_a_guest_that_is_slow_but_moves_is_not_given_up_before_its_time(vmctl: Vmctl, wait: _Wait) -> None:
    _vm(vmctl, boot_sector(vmctl.directory / "disk.raw", READS))
    error, _ = wait(25, 10)
    assert isinstance(error, BootTimeout)
    assert "was not ready in 25 s" in str(error)


def test_a_guest_without_an_address(vmctl: Vmctl, tiny: TinyGuest, wait: _Wait) -> None:
    _vm(vmctl, tiny_with(tiny.image, vmctl.directory / "disk.raw", files=tiny_rc(udhcpc=":")), memory=256)
    error, phases = wait(_LONG_S, 30)
    assert isinstance(error, BootTimeout)
    assert "has made no progress" in str(error)
    assert "still waiting for the guest's network" in str(error)
    assert "has no address: it needs DHCP" in error.diagnostic.help[0]
    assert phases[-2:] == ["kernel started", "system started"]


def test_a_guest_in_which_nothing_listens(vmctl: Vmctl, tiny: TinyGuest, wait: _Wait) -> None:
    _vm(vmctl, tiny_with(tiny.image, vmctl.directory / "disk.raw", files=tiny_rc(dropbear=":")), memory=256)
    error, phases = wait(_LONG_S, 30)
    assert isinstance(error, BootTimeout)
    assert "still waiting for sshd" in str(error)
    assert "nothing is listening on its SSH port" in error.diagnostic.help[0]
    assert "refused by the guest, or closed at once" in error.diagnostic.evidence[0].lines
    assert phases[-1] == "network up"


def test_an_sshd_that_hangs_up_on_everybody(vmctl: Vmctl, tiny: TinyGuest, wait: _Wait) -> None:
    hangs_up = tiny_rc(dropbear="nc -lk -p 22 -e /bin/true &")
    _vm(vmctl, tiny_with(tiny.image, vmctl.directory / "disk.raw", files=hangs_up), memory=256)
    error, phases = wait(_LONG_S, 30)
    assert "still waiting for sshd" in str(error)
    assert phases[-1] == "network up"


def test_a_boot_that_ends_in_a_shell(vmctl: Vmctl, tiny: TinyGuest, wait: _Wait) -> None:
    # What initramfs-tools leaves behind when it does not find the root file system.
    script = "#!/bin/sh\nmount -t devtmpfs devtmpfs /dev\nexec >/dev/ttyS0 2>&1 </dev/ttyS0\n"
    script += (
        "echo 'ALERT!  /dev/none does not exist.  Dropping to a shell!'\nPS1='(initramfs) ' exec /bin/busybox sh -i\n"
    )
    disk = tiny_with(tiny.image, vmctl.directory / "disk.raw", options="rdinit=/lost", files={"lost": script})
    _vm(vmctl, disk, memory=256)
    error, _ = wait(_LONG_S, _LONG_S)
    assert isinstance(error, BootFailed)
    assert "emergency shell" in str(error)
    assert "ALERT!  /dev/none does not exist.  Dropping to a shell!" in error.diagnostic.evidence[0].lines
