"""Why a guest does not get any further, read off its console and its screen.

What firmware, boot loaders and init systems say when they give up is no interface, but it has stood for decades, and there is
nothing else to ask. It is looked at only while nothing moves, and quoted, so that a mistake can be seen.
Sources: SeaBIOS src/boot.c; edk2 BdsDxe; GRUB's grub-core/kern/rescue_reader.c and normal/main.c; initramfs-tools
scripts/functions; dracut's emergency shell; systemd's emergency.service and sulogin(8); cloud-init's final_message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vm_manager.diagnostics.errors import BootFailed, GuestPanicked, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.redact import redact_lines
from vm_manager.domain.architecture import Architecture
from vm_manager.guest.unreachable import boot_is_over, this_boot
from vm_manager.host.console_log import LATE_TIMER, MORE_MEMORY, panic_lines, reason_of_panic

_QUOTED = 10
_NO_SEED = re.compile(r"Cloud-init v\. \S{1,100} finished at .{1,200}Datasource DataSourceNone")


class Stage(StrEnum):
    """How far a boot is, by what the console says."""

    FIRMWARE = "firmware"
    KERNEL = "kernel"
    USERSPACE = "userspace"


_KERNEL = re.compile(r"^\[ +0\.000000\] |Linux version \d", re.MULTILINE)
_USERSPACE = re.compile(r"Run \S+ as init process|systemd\[1\]: |^Welcome to |login: ?$|^Begin: ", re.MULTILINE)


@dataclass(frozen=True)
class _End:
    """A place from which a boot does not go on. last: the last lines of which one must match, 1 for a prompt.

    in_kernel: whether a kernel runs by then, whose messages may come at any time, behind a prompt and in its line, too.
    by_firmware: whether the firmware found nothing that it could start.
    """

    said: re.Pattern[str]
    last: int
    message: str
    help: str
    in_kernel: bool = False
    by_firmware: bool = False


_ENDS = (
    _End(
        re.compile(r"No bootable (device|option or device was found)"),
        6,
        "the firmware found nothing bootable on the guest's disk",
        "use a whole-disk image with a boot loader for the guest's firmware; this one may be empty or for a different firmware",
        by_firmware=True,
    ),
    _End(
        re.compile(r"^\s*Shell> ?$"),
        2,
        "the firmware stopped at its own shell: it found nothing to boot",
        'the image may only boot with BIOS: leave out `firmware "uefi"`, or use one with an EFI system partition',
        by_firmware=True,
    ),
    _End(
        re.compile(
            r"^\s*grub( rescue)?> ?\S*$|Press any key to continue\.\.\.|error: you need to load the kernel first"
        ),
        3,
        "the boot loader stopped at its prompt",
        "the boot loader found no configuration or kernel: see its messages above the prompt",
    ),
    _End(
        re.compile(
            r"^\(initramfs\) ?$|^(dracut|switch_root|emergency):[^ ]*# ?$|(Press Enter|Give root password) for maintenance"
        ),
        4,
        "the guest's boot ended in an emergency shell",
        "the guest could not mount a file system, or an essential service failed: see the lines above",
        in_kernel=True,
    ),
)
# Of GRUB, which says why it stopped before it does, and of Linux. Source: GRUB's grub-core/kern/mm.c; Linux's mm/oom_kill.c.
_NO_MEMORY = re.compile(r"\bout of memory\b|System is deadlocked on memory", re.IGNORECASE)
# systemd goes on to start what belongs to this mode, and what it has begun before: this is not the last that is said.
_EMERGENCY = re.compile(r"You are in (?:emergency|rescue) mode")
_FAILED_UNIT = re.compile(r"\[(?:FAILED| TIME |DEPEND)\]")
_FAILED_MOUNT = re.compile(r"(?:Failed to mount|Dependency failed for) \S+\.mount - (/\S{0,100}?)\.?$")
_MOST_FAILED = 6
# `[    1.935360] tsc: Refined TSC clocksource calibration`, by printk_time.
_KERNEL_MESSAGE = re.compile(r"\[ *\d{1,9}\.\d{6}\] .*")
# Before a shell is offered: what the initramfs looked for in vain. Source: initramfs-tools scripts/local, dracut's dracut-lib.
_NO_ROOT_OPTION = re.compile(r"No root device specified|No or empty root= argument")
_NO_ROOT = re.compile(r"(?:ALERT! +|Warning: )(\S{1,100}) does not exist")


def stage_of(console: str) -> Stage:
    """How far the boot is that this text of a console belongs to."""
    if _USERSPACE.search(console):
        return Stage.USERSPACE
    return Stage.KERNEL if _KERNEL.search(console) else Stage.FIRMWARE


def timer_was_late(console: str) -> bool:
    """Whether a kernel has panicked in the first moments of this boot because this host did not run it when its timer was due.

    Nothing of the guest's system has been started then, and it may well not happen again.
    """
    text = this_boot(console)
    return LATE_TIMER.search(text) is not None and _USERSPACE.search(text) is None


def panic(lines: Sequence[str], kind: str = "console") -> VmError | None:
    """A panic that the console or the screen shows; guests without the pvpanic driver do not tell QEMU of it."""
    quoted = panic_lines("\n".join(lines))
    if not quoted:
        return None
    reason, advice = reason_of_panic(quoted)
    return GuestPanicked(
        "the guest's kernel panicked while it booted{why}",
        {"why": reason},
        help=(advice or "see the lines around the panic for what the kernel was doing",),
        evidence=(Evidence(kind, f"the guest's {kind}", quoted),),
    )


def boot_failure(
    console: Sequence[str], screen: Sequence[str], arch: Architecture = Architecture.X86_64
) -> VmError | None:
    """Why a boot that is quiet will stay so; None when that is not plain.

    console, screen: their lines; what is empty is left out. arch: the guest's.
    """
    for kind, lines in (("console", console), ("screen", screen)):
        said = [line for line in redact_lines(lines) if line.strip()]
        if failure := _emergency(said, kind) or _end(said, kind, arch):
            return failure
    return None


def _end(said: Sequence[str], kind: str, arch: Architecture) -> BootFailed | None:
    for end in _ENDS:
        lines = _without_kernel(said) if end.in_kernel else said
        if any(end.said.search(line) for line in lines[-end.last :]):
            lacks = any(_NO_MEMORY.search(line) for line in said[-4 * _QUOTED :])
            message = f"the guest ran out of memory: {end.message}" if lacks else end.message
            help = MORE_MEMORY if lacks else _root(said) or end.help
            if end.by_firmware and arch is not Architecture.X86_64:
                # There is no other firmware; and most images are for x86-64.
                help = (
                    f"the image is probably for another architecture: use its edition for {arch}, or leave out `arch`"
                )
            return BootFailed(message, help=(help,), evidence=(_quote(said, kind),))
    return None


def _without_kernel(said: Sequence[str]) -> list[str]:
    rest = (_KERNEL_MESSAGE.sub("", line) for line in said)
    return [line for line in rest if line.strip()]


def _root(said: Sequence[str]) -> str | None:
    """What to do where the root file system was not found."""
    for line in reversed(said[-4 * _QUOTED :]):
        if _NO_ROOT_OPTION.search(line):
            return "the boot loader passes no `root=` to the kernel: add it to its configuration in the image"
        if found := _NO_ROOT.search(line):
            return f"the guest has no {found[1]}: correct `root=` in its boot loader, or add the disk's driver to its initramfs"
    return None


def _emergency(said: Sequence[str], kind: str) -> BootFailed | None:
    """The mode that systemd ends in when a file system or an essential unit fails, until somebody logs in at the console."""
    text = this_boot("\n".join(said))
    lines = text.splitlines()
    begun = next((number for number, line in enumerate(lines) if _EMERGENCY.search(line)), None)
    if begun is None or boot_is_over(text):
        return None
    failed = [line for line in lines[:begun] if _FAILED_UNIT.search(line)]
    mount = next((found[1] for line in failed if (found := _FAILED_MOUNT.search(line))), None)
    quoted = (*failed[:_MOST_FAILED], *lines[begun : begun + _QUOTED - _MOST_FAILED])
    return BootFailed(
        "the guest's boot ended in emergency mode{what}",
        {"what": f": {mount} could not be mounted" if mount else ""},
        help=(
            f"correct the line of {mount} in the image's /etc/fstab, or in the user-data that writes it, or add `nofail` to it"
            if mount
            else "an essential service failed, or a file system could not be mounted: correct that in the image or the user-data",
        ),
        evidence=(Evidence(kind, f"the guest's {kind}", quoted, truncated=True),),
    )


def _quote(said: Sequence[str], kind: str) -> Evidence:
    return Evidence(kind, f"the guest's {kind}", tuple(said[-_QUOTED:]), truncated=len(said) > _QUOTED)


def ignored_seed(console: str) -> str | None:
    """The line in which cloud-init says that it found no seed, or None."""
    found = _NO_SEED.search(console)
    return found[0] if found else None
