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
from vm_manager.host.console_log import panic_lines

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
    """A place from which a boot does not go on. last: the last lines of which one must match, 1 for a prompt."""

    said: re.Pattern[str]
    last: int
    message: str
    help: str


_ENDS = (
    _End(
        re.compile(r"No bootable (device|option or device was found)"),
        6,
        "the firmware found nothing bootable on the guest's disk",
        "use a whole-disk image with a boot loader for the guest's firmware; this one may be empty or for a different firmware",
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
            r"^\(initramfs\) ?$|^(dracut|switch_root|emergency):[^ ]*# ?$|You are in (emergency|rescue) mode"
            r"|(Press Enter|Give root password) for maintenance"
        ),
        4,
        "the guest's boot ended in an emergency shell",
        "the guest could not mount a file system, or an essential service failed: see the lines above",
    ),
)


def stage_of(console: str) -> Stage:
    """How far the boot is that this text of a console belongs to."""
    if _USERSPACE.search(console):
        return Stage.USERSPACE
    return Stage.KERNEL if _KERNEL.search(console) else Stage.FIRMWARE


def panic(console: str) -> VmError | None:
    """A panic that the console shows; guests without the pvpanic driver do not tell QEMU of it."""
    lines = panic_lines(console)
    if not lines:
        return None
    return GuestPanicked(
        "the guest's kernel panicked while it booted", evidence=(Evidence("console", "the guest's console", lines),)
    )


def boot_failure(console: Sequence[str], screen: Sequence[str]) -> VmError | None:
    """Why a boot that is quiet will stay so; None when that is not plain.

    console, screen: their lines; what is empty is left out.
    """
    for kind, title, lines in (
        ("console", "the guest's console", console),
        ("screen", "the guest's screen", screen),
    ):
        said = [line for line in lines if line.strip()]
        for end in _ENDS:
            if any(end.said.search(line) for line in said[-end.last :]):
                evidence = Evidence(kind, title, tuple(said[-_QUOTED:]), truncated=len(said) > _QUOTED)
                return BootFailed(end.message, help=(end.help,), evidence=(evidence,))
    return None


def ignored_seed(console: str) -> str | None:
    """The line in which cloud-init says that it found no seed, or None."""
    found = _NO_SEED.search(console)
    return found[0] if found else None
