"""What consoles and screens say when a boot does not go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import BootFailed, GuestPanicked
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.instance import Vitals
from vm_manager.guest.forensics import Stage, boot_failure, ignored_seed, panic, stage_of, timer_was_late
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
# A Debian whose /etc/fstab names a file system that is not there: cloud-init's network stage still goes on behind it.
_EMERGENCY = """\
[   98.590237] cloud-init[281]: ci-info: +-------+-------------+---------+-----------+-------+
[ TIME ] Timed out waiting for device [0;1;…00000-dead-beef-0000-000000000000.
[DEPEND] Dependency failed for syst…00000-dead-beef-0000-000000000000.
[DEPEND] Dependency failed for \x1b[0;1;39mdata.mount\x1b[0m - /data.\r\r
[DEPEND] Dependency failed for loca…s.target - Local File Systems.
[  OK  ] Reached target cloud-init.target - Cloud-init target.
[  OK  ] Reached target getty.target - Login Prompts.
[  OK  ] Started emergency.service - Emergency Shell.
[  OK  ] Reached target emergency.target - Emergency Mode.
[  OK  ] Finished systemd-update-ut… - Record Runlevel Change in UTMP.
You are in emergency mode. After logging in, type "journalctl -xb" to view
system logs, "systemctl reboot" to reboot, "systemctl default" or "exit"
to boot into default mode.

Cannot open access to console, the root account is locked.
See sulogin(8) man page for more details.

Press Enter to continue.
[  OK  ] Started systemd-networkd.service - Network Configuration.
[  OK  ] Finished systemd-networkd-…Wait for Network to be Configured.
[  143.521248] cloud-init[281]: 2026-11-30 02:57:31,119 - schema.py[WARNING]: Invalid cloud-config provided
[  OK  ] Finished cloud-init.servic…it job (metadata service crawler).
[  OK  ] Reached target cloud-confi…t - Cloud-config availability.
[  OK  ] Reached target network-online.target - Network is Online.
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


@pytest.mark.parametrize(
    "said", ["error: out of memory.\n\nPress any key to continue...", f"error: out of memory.\n{_PROMPT}"]
)
def test_a_guest_without_enough_memory_is_told_of_as_such(said: str) -> None:
    found = boot_failure(safe_lines(said), ())
    assert str(found) == "the guest ran out of memory: the boot loader stopped at its prompt"
    assert isinstance(found, BootFailed)
    assert found.diagnostic.help == ('raise `memory` in the VMFile, where a number is MiB: `memory "2GiB"`',)


def test_the_emergency_mode_of_a_cloud_image_is_seen_behind_whatever_goes_on_in_it() -> None:
    for text in (_EMERGENCY, "[    0.0] Linux version 6.1\n" + _EMERGENCY):
        found = boot_failure(safe_lines(text), ())
        assert str(found) == "the guest's boot ended in emergency mode: /data could not be mounted"
        assert isinstance(found, BootFailed)
        assert "`nofail`" in found.diagnostic.help[0]
        quoted = found.diagnostic.evidence[0].lines
        assert quoted[0].startswith("[ TIME ] Timed out waiting for device")
        assert quoted[4].startswith("You are in emergency mode")
    for gone_on in (_LOGIN, "reboot: Restarting system\n", "[    0.0] Linux version 6.1\nbooting\n"):
        assert boot_failure(safe_lines(_EMERGENCY + gone_on), ()) is None


@pytest.mark.parametrize(
    ("said", "help_text"),
    [
        ("No root device specified. Boot arguments must include a root= parameter.", "passes no `root=`"),
        ("ALERT!  /dev/nope does not exist.  Dropping to a shell!", "the guest has no /dev/nope"),
        ("mount: mounting /dev/vda1 on /root failed", "could not mount a file system"),
    ],
)
def test_a_shell_comes_with_what_to_do_about_the_root_file_system(said: str, help_text: str) -> None:
    found = boot_failure([said, "", "BusyBox v1.35.0", "", "(initramfs) "], ())
    assert isinstance(found, BootFailed)
    assert help_text in found.diagnostic.help[0]


@pytest.mark.parametrize("text", ["", _LOGIN, _SEABIOS + _LOGIN * 3, _RESCUE + "\nbooting\n\n\n\nLinux\nx\ny\nz\n"])
def test_what_goes_on_is_no_end(text: str) -> None:
    assert boot_failure(safe_lines(text), ()) is None


def test_a_panic_is_quoted_with_what_led_to_it() -> None:
    found = panic(safe_lines("boot\n" * 50 + _PANIC))
    assert isinstance(found, GuestPanicked)
    assert "Cannot open root device" in "\n".join(found.diagnostic.evidence[0].lines)
    assert "Unable to mount root fs" in "\n".join(found.diagnostic.evidence[0].lines)
    assert panic(safe_lines(_LOGIN)) is None


def test_a_panic_whose_beginning_has_scrolled_off_is_known_by_its_end() -> None:
    found = panic(_PANIC.splitlines()[2:], "screen")
    assert found
    assert found.diagnostic.evidence[0].kind == "screen"


@pytest.mark.parametrize(
    ("said", "reason", "help_text"),
    [
        ('VFS: Cannot open root device "(null)" or unknown-block(0,0): error -6', "no root file system", "no `root=`"),
        ('VFS: Cannot open root device "" or unknown-block(0,0)', "was given no root file system", "no `root=`"),
        ('VFS: Cannot open root device "vda9" or unknown-block(0,0)', "could not mount its root", "check `root=`"),
        ("Kernel panic - not syncing: No working init found.", "found no init program", "`init=`"),
        ("Kernel panic - not syncing: Out of memory: compulsory panic_on_oom", "ran out of memory", '`memory "2GiB"`'),
        ("Kernel panic - not syncing: System is deadlocked on memory", "ran out of memory", "raise `memory`"),
        (
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "its init program ended",
            "`init=`",
        ),
        ("Kernel panic - not syncing: IO-APIC + timer doesn't work!", "its timer came too late", "start fewer VMs"),
        ("Kernel panic - not syncing: Fatal exception in interrupt", "while it booted", "around the panic"),
    ],
)
def test_a_panic_says_why_and_what_to_do(said: str, reason: str, help_text: str) -> None:
    found = panic([said, "Kernel panic - not syncing: VFS: Unable to mount root fs" if "VFS" in said else said])
    assert found
    assert reason in str(found)
    assert help_text in found.diagnostic.help[0]


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\n", True),
        ("Kernel panic - not syncing: IO-APIC + timer doesn't work!\n[    0.0] Linux version 6.1.0\n", False),
        ("Run /init as init process\nKernel panic - not syncing: IO-APIC + timer doesn't work!\n", False),
        ("Kernel panic - not syncing: Attempted to kill init!\n", False),
    ],
)
def test_a_timer_that_was_late_is_one_of_this_boot_and_before_the_system(text: str, late: bool) -> None:
    assert timer_was_late(text) is late


def test_a_hostile_console_reaches_no_terminal() -> None:
    found = panic(["\x1b]0;title\x07\x1b[31mKernel panic - not syncing: \x9bboo"])
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
        progress.look(heard=heard, news=heard)
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


def test_a_disk_that_moves_now_and_then_does_not_begin_the_time_anew(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)
    progress.ask()
    for second in range(1, 101):
        if second % 10 == 0:
            machine.now = Vitals(second, 0)
        clock[0] += 1
        progress.look(heard=second % 20 == 0, news=False)
    assert progress.still_s == 0
    assert progress.stalled_s == 90
    progress.look(heard=True, news=True)
    assert progress.stalled_s == 0


def test_a_disk_that_is_always_busy_is_no_stall(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)
    for second in range(1, 101):
        machine.now = Vitals(second, 0)
        clock[0] += 1
        progress.look(heard=False, news=False)
    assert progress.stalled_s == 0


def test_the_time_that_a_guest_waited_for_a_cpu_is_no_stall(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)
    progress.ask()
    for second in range(1, 101):
        # Three of four seconds others have the CPUs; that alone is no movement.
        machine.now = Vitals(0, 0, waited_s=second * 0.75)
        clock[0] += 1
        progress.look(heard=False, news=False)
    assert progress.waited_s == 75
    assert progress.stalled_s == 25
    assert progress.still_s == 100


def test_a_line_that_is_repeated_with_other_figures_is_no_news(tmp_path: Path) -> None:
    console = Console(tmp_path / "console.log")
    waiting = "\r[\x1b[0;31m*     \x1b[0m] Job dev-vdb.device/start running (7s / no limit)\r"
    assert console.is_news("[ 1.0] one\n")
    assert console.is_news(waiting)
    assert not console.is_news(waiting.replace("7s", "1min 8s").replace("*     ", " **   "))
    assert not console.is_news("\r\n")
    assert console.is_news("[ 1.1] two\n")


def test_restarts_are_counted_from_where_the_guest_got_further(clock: list[float]) -> None:
    machine = _Machine()
    progress = Progress(machine)
    assert progress.restarts == 0
    for resets, expected in ((2, 0), (3, 1), (7, 5)):
        machine.now = Vitals(0, resets)
        clock[0] += 2
        progress.look(heard=False, news=False)
        assert progress.restarts == expected
    progress.got_further()
    assert progress.restarts == 0


@pytest.mark.parametrize(
    "said",
    [
        ("(initramfs) [    1.935360] tsc: Refined TSC clocksource calibration: 2596.106 MHz",),
        (
            "(initramfs) [    1.935360] tsc: Refined",
            "[    1.935904] clocksource: tsc: mask",
            "[    1.936207] clocksource: Switched",
        ),
        ("(initramfs) ", *(f"[{number:5}.000001] a device that comes late" for number in range(20))),
    ],
    ids=["behind the prompt", "and below it", "many"],
)
def test_what_the_kernel_says_behind_a_prompt_hides_it_not(said: tuple[str, ...]) -> None:
    failure = boot_failure(("ALERT!  /dev/vda9 does not exist.  Dropping to a shell!", "", *said), ())
    assert failure is not None
    assert failure.diagnostic.message == "the guest's boot ended in an emergency shell"


def test_a_boot_loader_that_waited_is_none_once_its_kernel_runs() -> None:
    kernel = tuple(f"[{number:5}.000001] a device" for number in range(5))
    assert boot_failure(("Press any key to continue...", "", *kernel), ()) is None


def test_a_uefi_firmware_at_its_own_shell_is_seen() -> None:
    # As edk2 writes it to a serial line, in colours and with places on the screen.
    text = "UEFI Interactive Shell v2.2\r\nPress \x1b[33mESC\x1b[37m in 1 seconds to skip\r\n"
    text += "\r\n\x1b[10;01H\x1b[1m\x1b[33m\x1b[40mShell> \x1b[0m\x1b[37m\x1b[40m"
    found = boot_failure(safe_lines(text), ())
    assert str(found) == "the firmware stopped at its own shell: it found nothing to boot"
    assert found is not None
    assert 'leave out `firmware "uefi"`' in found.diagnostic.help[0]
    foreign = boot_failure(safe_lines(text), (), Architecture.AARCH64)
    assert foreign is not None
    assert foreign.diagnostic.help == (
        "the image is probably for another architecture: use its edition for aarch64, or leave out `arch`",
    )
