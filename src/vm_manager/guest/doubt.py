"""Whether KVM is what keeps a guest from booting.

Where KVM works only in part, the firmware may run, and the boot loader or the kernel fail. What guests of a healthy host hardly
ever do before their kernel has said anything is taken for that. This may be wrong, so nothing may be lost by it: the guest must
not have written to its disk, and its system must not have been started.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.instance import Execution
from vm_manager.guest.forensics import Stage
from vm_manager.guest.progress import Progress

# Firmware resets the machine at most once before it boots.
_RESTARTS = 2
# Under KVM the firmware is at the disk in 0.1 s, and no boot loader computes for so long.
_STILL_S = 15.0
_LOOKS, _BETWEEN_S = 5, 0.1


def kvm_failure(
    progress: Progress, stage: Stage, stall_limit_s: float, execution: Callable[[], Execution | None]
) -> KvmUnusable | None:
    """Why KVM is to blame for a guest that does not get further, or None when it is not, or not yet, or cannot be.

    stage: how far its console says it is. stall_limit_s: after how long any guest counts as standing still.
    """
    seen = progress.seen
    if stage is not Stage.FIRMWARE or seen is None or seen.disk_writes:
        return None
    if progress.restarts >= _RESTARTS:
        return _finding("keeps rebooting before its kernel prints anything", f"{progress.restarts} restarts")
    still_s = progress.still_s
    if still_s < _STILL_S:
        return None
    if not seen.disk_operations:
        return _finding("has not even read its disk", f"no disk operation in {round(still_s)} s")
    if still_s >= stall_limit_s or _stands_still(execution):
        return _finding("hangs before its kernel prints anything", f"no activity for {round(still_s)} s")
    return None


def stopped_at_boot(progress: Progress, stage: Stage) -> bool:
    """Whether a machine that QEMU has stopped was still booting, so that nothing is lost when it is started again."""
    seen = progress.ask()
    return stage is not Stage.USERSPACE and seen is not None and not seen.disk_writes


def _stands_still(execution: Callable[[], Execution | None]) -> bool:
    """Whether no vCPU moves, and none of them is in an operating system, which may well wait in silence."""
    found = set()
    for _ in range(_LOOKS):
        now = execution()
        if now is None or now.in_system:
            return False
        found.add(now.addresses)
        time.sleep(_BETWEEN_S)
    return len(found) == 1


def _finding(what: str, shown: str) -> KvmUnusable:
    return KvmUnusable(
        "KVM does not boot the guest: it {what}", {"what": what}, evidence=(Evidence("probe", "the machine", (shown,)),)
    )
