"""Which accelerator executes the guest, found out by executing something.

That /dev/kvm exists and opens proves nothing: on hosts that are guests themselves QEMU can abort at once, or the guest can
hang before its first instruction. So a few bytes of code are run with the very options that the guest will get.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.spec import Accelerator
from vm_manager.host.paths import cache_home
from vm_manager.host.process import describe_status

_KVM = Path("/dev/kvm")
_PROBE_TIMEOUT_S = 2.0
_PROBE_STATUS = 33

# The reset vector of a 64 KiB BIOS is its last 16 bytes: mov al, 0x10; out 0xf4, al; hlt; jmp to the hlt.
# isa-debug-exit then ends QEMU with (0x10 << 1) | 1 = 33.
_PROBE_BIOS = b"\xf4" * 0xFFF0 + b"\xb0\x10\xe6\xf4\xf4\xeb\xfd".ljust(16, b"\xf4")


@dataclass(frozen=True)
class Choice:
    """What a guest is going to be executed by.

    options: for -accel; cpu: for -cpu; refused: why KVM was not taken although it was allowed, or None.
    """

    accelerator: Accelerator
    options: str
    cpu: str
    refused: KvmUnusable | None = None


def choose(wanted: Accelerator, cpu: str | None, qemu: Path) -> Choice:
    """The accelerator for a guest. Raises: `host::kvm_unusable` when KVM is demanded but does not work."""
    tcg = Choice(Accelerator.TCG, "tcg,thread=multi,tb-size=512", cpu or "max")
    if wanted is Accelerator.TCG:
        return tcg
    finding = _kvm_finding(cpu or "host", qemu)
    if finding is None:
        return Choice(Accelerator.KVM, "kvm", cpu or "host")
    if wanted is Accelerator.KVM:
        raise finding
    return Choice(tcg.accelerator, tcg.options, tcg.cpu, finding)


def _kvm_finding(cpu: str, qemu: Path) -> KvmUnusable | None:
    """Why KVM cannot be used, or None when it executes code."""
    try:
        os.close(os.open(_KVM, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return KvmUnusable(
            "this host has no {device}",
            {"device": str(_KVM)},
            help=("enable virtualisation in the firmware and load the module kvm_intel or kvm_amd",),
        )
    except OSError as error:
        return KvmUnusable(
            "{device} may not be opened",
            {"device": str(_KVM)},
            help=('join the group that owns it: `sudo usermod -aG kvm "$USER"`, then log in again',),
            evidence=(Evidence("probe", str(_KVM), (f"open: {error.strerror}",)),),
        )
    outcome = _cached_probe("kvm", cpu, qemu)
    if outcome == _executed():
        return None
    return KvmUnusable(
        "{device} opens but does not execute guest code",
        {"device": str(_KVM)},
        help=(
            'this host seems to be a guest without nested virtualisation; `accel "tcg"` in the VMFile says so for good',
        ),
        evidence=(Evidence("probe", f"7 bytes of code under -accel kvm -cpu {cpu}", (f"QEMU {outcome}",)),),
    )


def _executed() -> str:
    return describe_status(_PROBE_STATUS)


def _cached_probe(accel: str, cpu: str, qemu: Path) -> str:
    """The probe's outcome, remembered until the host boots again or QEMU is replaced."""
    cache = cache_home() / "accelerator.json"
    key = f"{_boot_id()} {qemu.resolve()} {qemu.stat().st_mtime_ns} {accel} {cpu}"
    try:
        known = json.loads(cache.read_text())
        if known["key"] == key:
            return str(known["outcome"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # A cache that cannot be read is no cache.
    outcome = _probe(accel, cpu, qemu)
    try:
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = cache.with_name(f".{cache.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"key": key, "outcome": outcome}))
        temporary.rename(cache)
    except OSError:
        pass  # Nor is one that cannot be written; the probe costs 30 ms.
    return outcome


def _probe(accel: str, cpu: str, qemu: Path) -> str:
    with tempfile.NamedTemporaryFile(suffix=".bin") as bios:
        bios.write(_PROBE_BIOS)
        bios.flush()
        argv = [
            str(qemu), "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "16",
            "-accel", accel, "-cpu", cpu, "-bios", bios.name, "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return describe_status(None)
    return describe_status(done.returncode)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
