"""Guests that are really broken, and how long they are waited for. What `vmctl up` says of each is in the gallery."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broken_guests import (
    READS,
    SLEEPS,
    SPINS,
    boot_sector,
    panics_at_first,
    tiny_rc,
    tiny_with,
)
from conftest import TinyGuest
from driver import Vmctl
from vm_manager.app.reach import wait_for_guest
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import BootTimeout, GuestPanicked, VmError
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


@pytest.fixture
def busy_cpu() -> Iterator[tuple[str, ...]]:
    """A command's prefix that runs it on a CPU that six others want."""
    prefix = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    spin = [*prefix, "sh", "-c", "while :; do :; done"]
    # Each in a session of its own, as QEMU is: the kernel may share a CPU out among sessions.
    others = [subprocess.Popen(spin, start_new_session=True) for _ in range(6)]
    yield prefix
    for other in others:
        other.kill()
        other.wait()


def test_a_guest_that_gets_no_cpu_of_an_overloaded_host_is_not_one_that_hangs(
    vmctl: Vmctl, wait: _Wait, busy_cpu: tuple[str, ...]
) -> None:
    _vm(vmctl, boot_sector(vmctl.directory / "disk.raw", SPINS))
    replace(vmctl, prefix=busy_cpu)("up", "--wait", "none")
    error, _ = wait(40, 15)
    assert isinstance(error, BootTimeout)
    assert "was not ready in 40 s" in str(error)
    (note,) = error.diagnostic.notes
    assert note.startswith("this host is overloaded: for ")


@pytest.mark.parametrize("boots", [1, 9])
def test_a_kernel_whose_timer_was_late_is_started_again_but_not_for_ever(vmctl: Vmctl, wait: _Wait, boots: int) -> None:
    _vm(vmctl, panics_at_first(vmctl.directory / "disk.raw", boots))
    error, _ = wait(_LONG_S, 10)
    console = (vmctl.home("odd") / "console.log").read_text(errors="replace")
    assert console.count("Kernel panic") == min(boots, 3)
    if boots == 1:
        assert "has made no progress for 10 s" in str(error)
    else:
        assert isinstance(error, GuestPanicked)
        assert "its timer came too late, which happens on a busy host" in str(error)
        assert "start fewer VMs at a time" in error.diagnostic.help[0]


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
