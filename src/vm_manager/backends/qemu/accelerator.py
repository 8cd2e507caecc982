"""Which accelerator executes the guest: what the VM asks for, what the kernel gives, and what a boot in miniature shows.

That /dev/kvm exists and opens proves nothing. And where a real guest shows something else than the probe, the guest is right:
see `distrust`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from vm_manager.backends.qemu.boot_probe import ProbeResult, boot_probe
from vm_manager.backends.qemu.kvm_device import device_finding, is_held
from vm_manager.backends.qemu.verdicts import Verdict, alone, key, recall, remember
from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.spec import Accelerator

_FINDING = "{finding}"
_TITLE = "a test boot under KVM"
# Of a probe that was given up, or in which nothing was executed: on a host that is busy, or out of memory, that says little.
_UNCERTAIN_S = 600.0
_UNCERTAIN_HELP = (
    "if this host was only busy, try again: KVM is tried again after ten minutes, and at once with `--accel kvm`"
)
# An image that boots under TCG only shall not take KVM away from all others for ever.
_DISTRUST_S = 24 * 3600.0
# Several VMs are started at a time: the first one finds out, the others wait for it.
_probing = threading.Lock()


class Believe(Enum):
    """Which verdicts of before count."""

    ANY = auto()
    SUCCESS = auto()
    NONE = auto()


@dataclass(frozen=True)
class Choice:
    """What a guest is going to be executed by.

    options: for -accel; cpu: for -cpu. reason: why this one, in a few words. refused: why KVM was not taken although it was
    allowed, or None.
    """

    accelerator: Accelerator
    options: str
    cpu: str
    reason: str
    refused: KvmUnusable | None = None


def choose(wanted: Accelerator, cpu: str | None, qemu: Path) -> Choice:
    """The accelerator for a guest. Raises: `host::kvm_unusable` when KVM is demanded but does not work."""
    if wanted is Accelerator.TCG:
        return emulation(cpu, "as chosen")
    # Whoever demands KVM is not turned away by what another guest has shown, or by a moment in which the host was busy.
    finding = kvm_finding(cpu, qemu, Believe.SUCCESS if wanted is Accelerator.KVM else Believe.ANY)
    if finding is None:
        return acceleration(cpu, "KVM boots guests on this host")
    if wanted is Accelerator.KVM:
        raise finding
    return emulation(cpu, finding.diagnostic.message, finding)


def acceleration(cpu: str | None, reason: str) -> Choice:
    """KVM."""
    return Choice(Accelerator.KVM, "kvm", cpu or "host", reason)


def emulation(cpu: str | None, reason: str, refused: KvmUnusable | None = None) -> Choice:
    """TCG."""
    return Choice(Accelerator.TCG, "tcg,thread=multi,tb-size=512", cpu or "max", reason, refused)


def kvm_finding(cpu: str | None, qemu: Path, believe: Believe = Believe.ANY) -> KvmUnusable | None:
    """Why KVM cannot be used, or None when it boots. believe: else the probe is asked."""
    finding = device_finding()
    if finding is not None:
        return finding
    try:
        about = key(qemu, cpu or "host")
        with _probing, alone():
            known = recall(about)
            if known is not None and (believe is Believe.ANY or (believe is Believe.SUCCESS and known.boots)):
                verdict = known
            else:
                verdict = _verdict(boot_probe(qemu, "kvm", cpu or "host"))
                if known is None or not _outranks(known, verdict):
                    remember(about, verdict)
    except OSError as error:
        return _unusable(Verdict(False, "could not test KVM", (str(error),)))
    if verdict.boots:
        return None
    return _briefly(verdict) if verdict is known and not verdict.guest else _unusable(verdict)


def _outranks(known: Verdict, found: Verdict) -> bool:
    """What a guest has shown outranks the probe, and a probe that has succeeded one that was given up."""
    return (bool(known.guest) and found.boots) or (known.boots and found.lasts_s is not None)


def distrust(cpu: str | None, qemu: Path, vm: str, lines: Sequence[str]) -> None:
    """Remember that KVM did not boot a VM's guest, which came up under TCG, whatever the probe says of it."""
    verdict = Verdict(False, f"KVM did not boot the guest of VM '{vm}'", tuple(lines), _DISTRUST_S, guest=vm)
    try:
        remember(key(qemu, cpu or "host"), verdict)
    except OSError:
        return  # the device is gone: the next look at it says so


def _verdict(found: ProbeResult) -> Verdict:
    if found.failed_step is None:
        return Verdict(True)
    if not found.reached and is_held():
        message = "another hypervisor, such as VirtualBox or VMware, is using this host's virtualization"
        return Verdict(False, message, lasts_s=_UNCERTAIN_S)
    if found.timed_out:
        message = f"KVM did not boot a guest in time: it hangs, or this host is busy, at {found.failed_step}"
    else:
        message = f"KVM does not boot guests on this host: it failed at {found.failed_step}"
    certain = bool(found.reached) and not found.timed_out
    lines = (f"QEMU {found.ended}", *found.said)
    return Verdict(False, message, lines, None if certain else _UNCERTAIN_S)


def _unusable(verdict: Verdict) -> KvmUnusable:
    return KvmUnusable(
        _FINDING,
        {"finding": verdict.message},
        help=(*((_UNCERTAIN_HELP,) if verdict.lasts_s == _UNCERTAIN_S else ()), KvmUnusable.entry.help),
        notes=(
            "inside a virtual machine, KVM often works only partly: try a physical host or another type of cloud instance",
        ),
        evidence=(Evidence("probe", _TITLE, verdict.lines),),
    )


def _briefly(verdict: Verdict) -> KvmUnusable:
    """What was told in full when it was found out, and can be found out again, unlike what a guest has shown."""
    again = "`--accel kvm` tests KVM again and shows what failed"
    return KvmUnusable(_FINDING, {"finding": verdict.message}, help=(again, KvmUnusable.entry.help))
