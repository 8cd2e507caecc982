"""What consoles and screens say when a boot does not go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import BootFailed, GuestPanicked
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.instance import Vitals
from vm_manager.guest.forensics import Stage, boot_failure, ignored_seed, panic, stage_of
from vm_manager.guest.progress import Console, Progress

# As they were seen; the escape sequences are GRUB's.
_SEABIOS = """\
SeaBIOS (version 1.16.2-debian-1.16.2-1)
Booting from Hard Disk...
Boot failed: not a bootable disk
Booting from Floppy...
Boot failed: could not read the boot disk
No bootable device.
"""
_EDK2 = """\
BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0): Not Found
BdsDxe: No bootable option or device was found.
BdsDxe: Press any key to enter the Boot Manager Menu.
"""
_RESCUE = "error: unknown filesystem.\r\nEntering rescue mode...\r\ngrub rescue> "
_PROMPT = "\x1b[H\x1b[J                             GNU GRUB  version 2.06\r\n\r\n   Minimal BASH-like\r\n\r\n\rgrub> "
_INITRAMFS = """\
Gave up waiting for root file system device.  Common problems:
ALERT!  /dev/nope does not exist.  Dropping to a shell!

BusyBox v1.35.0 (Debian 1:1.35.0-4+b7) built-in shell (ash)
Enter 'help' for a list of built-in commands.

(initramfs) """
_EMERGENCY = """\
You are in emergency mode. After logging in, type "journalctl -xb" to view
system logs, "systemctl reboot" to reboot, "systemctl default" or "exit"
to boot into default mode.

Cannot open access to console, the root account is locked.
See sulogin(8) man page for more details.

Press Enter to continue.
"""
_MAINTENANCE = "Give root password for maintenance\r\n(or press Control-D to continue): "
_PANIC = """\
[    1.1] VFS: Cannot open root device "(null)" or unknown-block(0,0): error -6
[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    1.3] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-28-cloud-amd64
[    1.9] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---
"""
_LOGIN = "\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_SEABIOS, "found nothing bootable"),
        (_EDK2, "found nothing bootable"),
        (_RESCUE, "boot loader stopped"),
        (_PROMPT, "boot loader stopped"),
        ("error: file `/vmlinuz' not found.\r\n\r\nPress any key to continue...", "boot loader stopped"),
        (_INITRAMFS, "emergency shell"),
        (_MAINTENANCE, "emergency shell"),
        ("dracut:/# ", "emergency shell"),
    ],
)
def test_an_end_is_seen_on_the_console_and_on_the_screen_and_is_quoted(text: str, message: str) -> None:
    lines = safe_lines(text)
    for console, screen, kind in ((lines, (), "console"), ((), lines, "screen")):
        found = boot_failure(console, screen)
        assert isinstance(found, BootFailed)
        assert message in str(found)
        (evidence,) = found.diagnostic.evidence
        assert evidence.kind == kind
        assert evidence.lines[-1].strip() == [line for line in lines if line.strip()][-1].strip()


@pytest.mark.parametrize("text", ["", _LOGIN, _SEABIOS + _LOGIN * 3, _RESCUE + "\nbooting\n\n\n\nLinux\nx\ny\nz\n"])
def test_what_goes_on_is_no_end(text: str) -> None:
    assert boot_failure(safe_lines(text), ()) is None


def test_a_panic_is_quoted_with_what_led_to_it() -> None:
    found = panic("boot\n" * 50 + _PANIC)
    assert isinstance(found, GuestPanicked)
    assert "Cannot open root device" in "\n".join(found.diagnostic.evidence[0].lines)
    assert "Unable to mount root fs" in "\n".join(found.diagnostic.evidence[0].lines)
    assert panic(_LOGIN) is None


def test_a_hostile_console_reaches_no_terminal() -> None:
    found = panic("\x1b]0;title\x07\x1b[31mKernel panic - not syncing: \x9bboo\n")
    assert found
    assert found.diagnostic.evidence[0].lines == ("Kernel panic - not syncing: boo",)


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        (_SEABIOS, Stage.FIRMWARE),
        ("[    0.000000] Linux version 6.1.0", Stage.KERNEL),
        ("[    0.000000] Linux version 6.1.0\n[    2.1] Run /init as init process", Stage.USERSPACE),
        (_LOGIN, Stage.USERSPACE),
        ("[    4.0] systemd[1]: Detected virtualization kvm.", Stage.USERSPACE),
    ],
)
def test_the_stage_of_a_boot(text: str, stage: Stage) -> None:
    assert stage_of(text) is stage


def test_cloud_inits_own_word_that_it_found_no_seed() -> None:
    said = "[   20.1] cloud-init[500]: Cloud-init v. 22.4.2 finished at Fri, 20 Nov 2026. Datasource DataSourceNone.  Up 20 s"
    assert ignored_seed(f"x\n{said}\ny")
    assert ignored_seed(said.replace("DataSourceNone", "DataSourceNoCloud [seed=/dev/sr0]")) is None


# Progress


def test_the_console_hands_out_each_piece_once_and_remembers_the_newest(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    console = Console(log)
    assert console.read() == ""
    log.write_text("one\n")
    assert console.read() == "one\n"
    assert console.read() == ""
    log.write_text("one\n" + "x" * 200_000 + "\nend")
    assert console.read().endswith("x\nend")
    assert len(console.text) == 64 * 1024
    assert console.lines()[-1] == "end"


class _Machine:
    def __init__(self) -> None:
        self.now: Vitals | None = Vitals(0, 0)

    def __call__(self) -> Vitals | None:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_what_moves_is_not_still(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)

    def after(seconds: float, *, heard: bool = False) -> tuple[float, float]:
        clock[0] += seconds
        progress.look(heard)
        return progress.still_s, progress.silent_s

    assert after(10) == (0, 10)  # the first answer
    assert after(10) == (10, 20)
    machine.now = Vitals(5, 0)
    assert after(0.5) == (10.5, 20.5)  # not asked so often
    assert after(1) == (0, 21.5)
    machine.now = None
    assert after(7) == (7, 28.5)
    assert after(1, heard=True) == (0, 0)
    clock[0] += 3
    progress.got_further()
    assert (progress.still_s, progress.silent_s) == (0, 3)


def test_restarts_are_counted_from_where_the_guest_got_further(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)
    assert progress.restarts == 0
    for resets, expected in ((2, 0), (3, 1), (7, 5)):
        machine.now = Vitals(0, resets)
        clock[0] += 2
        progress.look(False)
        assert progress.restarts == expected
    progress.got_further()
    assert progress.restarts == 0
