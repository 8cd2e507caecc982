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
from vm_manager.backends.qemu.targets import TARGETS
from vm_manager.backends.qemu.verdicts import Verdict, alone, key, recall, remember
from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.architecture import Architecture, host_architecture, is_foreign
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
class Processor:
    """The virtual CPUs of a guest. model: QEMU's name, or None for the accelerator's default. qemu: the program that has them."""

    arch: Architecture
    model: str | None
    qemu: Path

    @property
    def under_kvm(self) -> str:
        """The CPU model that it has there."""
        return self.model or "host"

    @property
    def can_be_probed(self) -> bool:
        """The test boot is code for x86."""
        return self.arch is Architecture.X86_64


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


def choose(wanted: Accelerator, processor: Processor) -> Choice:
    """The accelerator for a guest. Raises: `host::kvm_unusable` when KVM is demanded but does not work."""
    if wanted is Accelerator.TCG:
        return emulation(processor, "as chosen")
    if is_foreign(processor.arch):
        if wanted is Accelerator.KVM:
            raise _foreign(processor.arch)
        return emulation(processor, f"this host cannot run {processor.arch} code itself")
    # Whoever demands KVM is not turned away by what another guest has shown, or by a moment in which the host was busy.
    finding = kvm_finding(processor, Believe.SUCCESS if wanted is Accelerator.KVM else Believe.ANY)
    if finding is None:
        return acceleration(processor, "KVM boots guests on this host")
    if wanted is Accelerator.KVM:
        raise finding
    return emulation(processor, finding.diagnostic.message, finding)


def acceleration(processor: Processor, reason: str) -> Choice:
    """KVM."""
    return Choice(Accelerator.KVM, "kvm", processor.under_kvm, reason)


def emulation(processor: Processor, reason: str, refused: KvmUnusable | None = None) -> Choice:
    """TCG."""
    cpu = processor.model or TARGETS[processor.arch].emulated_cpu
    return Choice(Accelerator.TCG, "tcg,thread=multi,tb-size=512", cpu, reason, refused)


def kvm_finding(processor: Processor, believe: Believe = Believe.ANY) -> KvmUnusable | None:
    """Why KVM cannot be used, or None when it boots. believe: else the probe is asked, where there is one.

    processor: of this host's architecture.
    """
    finding = device_finding()
    if finding is not None:
        return finding
    try:
        about = key(processor.qemu, processor.under_kvm)
        with _probing, alone():
            known = recall(about)
            if known is not None and (believe is Believe.ANY or (believe is Believe.SUCCESS and known.boots)):
                verdict = known
            else:
                verdict = _found_out(processor)
                if known is None or not _outranks(known, verdict):
                    remember(about, verdict)
    except OSError as error:
        return _unusable(Verdict(False, "could not test KVM", (str(error),)))
    if verdict.boots:
        return None
    return _briefly(verdict) if verdict is known and not verdict.guest else _unusable(verdict)


def _found_out(processor: Processor) -> Verdict:
    # Without a probe what happens to the guests themselves decides.
    return (
        _verdict(boot_probe(processor.qemu, "kvm", processor.under_kvm)) if processor.can_be_probed else Verdict(True)
    )


def _outranks(known: Verdict, found: Verdict) -> bool:
    """What a guest has shown outranks the probe, and a probe that has succeeded one that was given up."""
    return (bool(known.guest) and found.boots) or (known.boots and found.lasts_s is not None)


def distrust(processor: Processor, vm: str, lines: Sequence[str]) -> None:
    """Remember that KVM did not boot a VM's guest, which came up under TCG, whatever the probe says of it."""
    verdict = Verdict(False, f"KVM did not boot the guest of VM '{vm}'", tuple(lines), _DISTRUST_S, guest=vm)
    try:
        remember(key(processor.qemu, processor.under_kvm), verdict)
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


def _foreign(arch: Architecture) -> KvmUnusable:
    return KvmUnusable(
        "KVM cannot run {arch} guests on this host, which is {host}",
        {"arch": str(arch), "host": str(host_architecture() or "of another architecture")},
        help=('leave out `accel "kvm"`: guests of another architecture are emulated',),
    )


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
