"""What stands in a guest's console log, found by what it says."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.safe_text import safe_lines

_READ_BYTES = 256 * 1024
_LINE_LENGTH = 500
_BEFORE, _AFTER = 3, 14
# Sources: OpenSSH's auth.c and misc.c, Dropbear's svr-auth.c.
_REFUSED = re.compile(
    r"has invalid shell|not allowed because|Authentication refused|attempt for nonexistent user|bad ownership or modes"
)
_REFUSALS = 3
_PANIC = re.compile(r"Kernel panic - not syncing")
#: Of emulated guests above all: they are stopped and continued as the host likes.
LATE_TIMER = re.compile(r"Kernel panic - not syncing: IO-APIC \+ timer doesn't work")
MORE_MEMORY = 'raise `memory` in the VMFile, where a number is MiB: `memory "2GiB"`'

# What a kernel says of the reason, what that is in words, and what to do. Source: Linux's init/do_mounts.c, init/main.c,
# kernel/exit.c, mm/oom_kill.c, arch/x86/kernel/apic/io_apic.c.
_REASONS = (
    (
        LATE_TIMER,
        ": its timer came too late, which happens on a busy host",
        "start fewer VMs at a time; for good, have the image's boot loader pass `no_timer_check` to the kernel",
    ),
    (
        re.compile(r"Cannot open root device \"(?:|\(null\))\""),
        ": it was given no root file system",
        "the boot loader passes no `root=` to the kernel: add it to its configuration in the image",
    ),
    (
        re.compile(r"Unable to mount root fs|Cannot open root device|No filesystem could mount root"),
        ": it could not mount its root file system",
        "check `root=` in the image's boot loader, and that kernel or initramfs have the disk's driver (virtio-blk)",
    ),
    (
        re.compile(r"No working init found|Requested init \S+ failed"),
        ": it found no init program",
        "the root file system has no init, or one for another processor: check the image and `init=` in its boot loader",
    ),
    (
        re.compile(r"out of memory|System is deadlocked on memory|killable processes", re.IGNORECASE),
        ": it ran out of memory",
        MORE_MEMORY,
    ),
    (
        re.compile(r"Attempted to kill init"),
        ": its init program ended",
        "see the lines above the panic for what init said last; check the image and `init=` in its boot loader",
    ),
)


def panic_lines(text: str) -> tuple[str, ...]:
    """The last panic of a Linux kernel in a console's text, with what stands around it; empty when there is none."""
    lines = [line[:_LINE_LENGTH] for line in safe_lines(text) if line.strip()]
    panics = [number for number, line in enumerate(lines) if _PANIC.search(line)]
    # The end of one stands alone where its beginning has scrolled off a screen.
    found = [number for number in panics if "end Kernel panic" not in lines[number]] or panics
    return tuple(lines[max(0, found[-1] - _BEFORE) : found[-1] + _AFTER]) if found else ()


def reason_of_panic(lines: Sequence[str]) -> tuple[str, str]:
    """Why a kernel panicked, to follow a message, and what to do; both empty when that is not plain."""
    said = "\n".join(lines)
    found = ((reason, advice) for pattern, reason, advice in _REASONS if pattern.search(said))
    return next(found, ("", ""))


def panic_evidence(console_log: Path) -> tuple[Evidence, ...]:
    """The last panic in a console's log, as evidence; none when the log shows none."""
    return _evidence(console_log, panic_lines(_end_of(console_log)))


def refused_logins(console_log: Path) -> tuple[Evidence, ...]:
    """What a guest's own SSH server said on the console of logins that it refused; none when it said nothing there."""
    lines = [line[:_LINE_LENGTH] for line in safe_lines(_end_of(console_log)) if _REFUSED.search(line)]
    return _evidence(console_log, tuple(lines[-_REFUSALS:]))


def _evidence(console_log: Path, lines: tuple[str, ...]) -> tuple[Evidence, ...]:
    return (Evidence("console", "the guest's console", lines, str(console_log), truncated=True),) if lines else ()


def _end_of(console_log: Path) -> str:
    try:
        with console_log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _READ_BYTES))
            return file.read(_READ_BYTES).decode(errors="replace")
    except OSError:
        return ""
