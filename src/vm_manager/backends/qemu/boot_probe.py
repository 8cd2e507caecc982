"""A boot in miniature: whether an accelerator executes what every boot executes.

That a few instructions run proves little. Where KVM itself runs in a virtual machine, the firmware may work and the boot loader
fault, or the kernel meet an instruction that KVM cannot emulate. So QEMU boots a sector (boot_probe.S) with the machine type and
the CPU options of the guest, on two vCPUs, and the sector reports each step that it has taken.
"""

from __future__ import annotations

import json
import os
import re
import resource
import selectors
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vm_manager.backends.qemu.confinement import probe_sandbox
from vm_manager.host.process import describe_status
from vm_manager.host.sandbox import spawn

#: What each letter of boot_probe.S stands for, in order.
STEPS = {
    "r": "starting a boot sector",
    "b": "reading the disk through the firmware",
    "p": "entering protected mode",
    "l": "entering long mode",
    "c": "executing cpuid",
    "m": "executing rdmsr",
    "f": "handling a page fault",
    "x": "executing cmpxchg16b",
    "t": "taking a timer interrupt",
    "s": "starting a second vCPU",
    "B": "going back to real mode",
}
_SECTOR = Path(__file__).with_name("boot_probe.bin")
# The firmware computes the disk's geometry and does not boot from one of less than a cylinder.
_DISK_BYTES = 1024 * 1024
# isa-debug-exit ends QEMU with (0x10 << 1) | 1.
_DONE = 33
# A good KVM takes 0.1 s for all, and a busy host's firmware a second.
_SILENCE_S = 3.0
_LIMIT_S = 10.0
_CPU_S = 30
_QUOTED_BYTES = 16 * 1024
_QUOTED_LINES = 6
# QEMU's trace event `runstate_set` (softmmu/trace-events), on its standard error.
_RUN_STATE = re.compile(r"^(?:\S+@\S+:)?runstate_set .*new_state \d+ \(([\w-]+)\)", re.MULTILINE)
_STOPPED = "internal-error"


@dataclass(frozen=True)
class ProbeResult:
    """How far the sector came.

    reached: the letters of the steps it took. ended: what QEMU did then, in words. said: the first lines on its standard error.
    timed_out: it was given up: on a host that is busy this says little.
    """

    reached: str
    ended: str
    said: tuple[str, ...] = ()
    timed_out: bool = False

    @property
    def failed_step(self) -> str | None:
        """The first step that was not taken, in words; None when the sector came to its end."""
        return next((words for letter, words in STEPS.items() if letter not in self.reached), None)


def boot_probe(qemu: Path, accelerator: str, cpu: str) -> ProbeResult:
    """Boot the sector. accelerator, cpu: the values of -accel and -cpu. Takes 10 s at most. Raises: `OSError`."""
    disk = os.memfd_create("vmctl-boot-probe")
    try:
        os.write(disk, _SECTOR.read_bytes())
        os.truncate(disk, _DISK_BYTES)
        process = spawn(
            _command_line(qemu, accelerator, cpu, f"/proc/self/fd/{disk}"),
            probe_sandbox(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[disk],
            start_new_session=True,  # Ctrl-C is ours
        )
        # Should we be killed: a guest that spins would do so for ever.
        with suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    finally:
        os.close(disk)
    with process:
        try:
            return _watch(process)
        finally:
            process.kill()


def _command_line(qemu: Path, accelerator: str, cpu: str, disk: str) -> list[str]:
    return [
        str(qemu),
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-machine", "q35",
        "-accel", accelerator,
        "-cpu", cpu,
        "-smp", "2",
        "-m", "32",
        "-no-reboot",  # a triple fault ends it
        "-trace", "runstate_set",
        "-blockdev", json.dumps({"driver": "file", "node-name": "file", "filename": disk, "read-only": True}),
        "-blockdev", json.dumps({"driver": "raw", "node-name": "disk", "file": "file", "read-only": True}),
        "-device", "virtio-blk-pci,drive=disk,bootindex=1",
        "-chardev", "stdio,id=steps,signal=off",
        "-device", "isa-debugcon,iobase=0xe9,chardev=steps",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
    ]  # fmt: skip


def _watch(process: subprocess.Popen[bytes]) -> ProbeResult:
    """Listen until QEMU ends, stops the machine or says nothing any more."""
    assert process.stdout
    assert process.stderr
    heard = {process.stdout: b"", process.stderr: b""}
    began = last = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for pipe in heard:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < min(last + _SILENCE_S, began + _LIMIT_S):
            for key, _ in selector.select(0.2):
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(pipe.fileno(), 4096)
                if not data:
                    selector.unregister(pipe)
                heard[pipe] = (heard[pipe] + data)[:_QUOTED_BYTES]
                last = time.monotonic()
            if _stopped(heard[process.stderr]):
                return _result(heard[process.stdout], heard[process.stderr], f"stopped the machine: {_STOPPED}")
        timed_out = bool(selector.get_map())
    if timed_out:
        seconds = round(time.monotonic() - began)
        return _result(heard[process.stdout], heard[process.stderr], f"did not finish in {seconds} s", timed_out=True)
    status: int | None = None
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(_SILENCE_S)
    ended = "reset the machine" if status == 0 else describe_status(status)
    return _result(heard[process.stdout], heard[process.stderr], ended, complete=status == _DONE)


def _stopped(stderr: bytes) -> bool:
    return _STOPPED in _RUN_STATE.findall(stderr.decode(errors="replace"))


def _result(
    stdout: bytes, stderr: bytes, ended: str, *, timed_out: bool = False, complete: bool = False
) -> ProbeResult:
    letters = stdout.decode("ascii", errors="replace")
    reached = "".join(letter for letter in STEPS if letter in letters)
    lines = _RUN_STATE.sub("", stderr.decode(errors="replace")).splitlines()
    said = tuple(line for line in lines if line.strip())[:_QUOTED_LINES]
    # Having said everything is not enough: the last thing that the sector does is to end QEMU.
    return ProbeResult(reached if complete else reached.removesuffix("B"), ended, said, timed_out)
