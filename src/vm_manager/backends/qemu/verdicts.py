"""What the boot probe found, remembered: a file of the cache that several processes may write; the last one counts.

A verdict holds for one boot of this host, one QEMU, one CPU model, one device, and with or without a sandbox.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from vm_manager.backends.qemu.kvm_device import KVM_DEVICE
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.domain.owners import read_own, require_own_place
from vm_manager.host.paths import cache_home
from vm_manager.host.sandbox import confinement
from vm_manager.state.decoding import convert
from vm_manager.state.files import make_dir, private, write_atomically

_log = logging.getLogger(__name__)

_SCHEMA = 3
_READ_BYTES = 256 * 1024
_REMEMBERED = 32
# A probe ends within ten.
_FINDING_OUT_S = 15.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Verdict:
    """Whether KVM boots guests.

    message, lines: where it does not, why, and what shows it. lasts_s: for how many seconds it counts; None: until the host is
    started anew. at: seconds since the epoch. guest: the VM that has shown it; empty: the probe has.
    """

    boots: bool
    message: str = ""
    lines: tuple[str, ...] = ()
    lasts_s: float | None = None
    at: float = 0.0
    guest: str = ""


def key(qemu: Path, cpu: str, device: Path = KVM_DEVICE) -> str:
    """What a verdict is about. Raises: `OSError` when QEMU or the device is gone."""
    program, node = qemu.resolve(), device.stat()
    version = program.stat()
    return json.dumps(
        [
            _boot_id(),
            str(program),
            version.st_ino,
            version.st_mtime_ns,
            cpu,
            node.st_rdev,
            node.st_ino,
            node.st_ctime_ns,
            confinement().sandbox,
        ]
    )


@contextmanager
def alone() -> Iterator[None]:
    """Wait for other processes that find out, as long as that takes: many that do so at once would be too slow to tell anything.

    Where the cache cannot be written nobody waits.
    """
    try:
        require_own_place(cache_home(), "XDG_CACHE_HOME")
        make_dir(cache_home())
        descriptor = private(str(cache_home() / "accelerator.lock"), os.O_RDWR | os.O_CREAT)
    except (VmError, OSError):
        yield
        return
    try:
        _wait(descriptor, time.monotonic() + _FINDING_OUT_S)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, ends: float) -> None:
    """Take the lock; without it where whoever holds it does not end."""
    while time.monotonic() < ends:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_POLL_S)


def recall(about: str) -> Verdict | None:
    """The verdict, unless there is none that still counts."""
    try:
        verdict = convert(_read().get(about), Verdict)
    except msgspec.ValidationError:
        return None
    counts = verdict.lasts_s is None or 0 <= time.time() - verdict.at < verdict.lasts_s
    return verdict if counts else None


def remember(about: str, verdict: Verdict) -> None:
    """Keep a verdict; a cache that cannot be written is no failure."""
    known = {**_read()}
    known.pop(about, None)
    known[about] = msgspec.to_builtins(replace(verdict, at=time.time()))
    kept = dict(list(known.items())[-_REMEMBERED:])
    try:
        require_own_place(cache_home(), "XDG_CACHE_HOME")
        make_dir(cache_home())
        write_atomically(_path(), json.dumps({"schema": _SCHEMA, "verdicts": kept}).encode(), durable=False)
    except VmError as error:
        _log.info("the verdict on KVM is not kept: %s", error)


def _read() -> Mapping[str, object]:
    try:
        require_own_place(cache_home(), "XDG_CACHE_HOME")
        document = parse(read_own(_path(), _READ_BYTES), most_bytes=_READ_BYTES)
    except (OSError, VmError, Unreadable):
        return {}  # a cache that cannot be read, or that is not ours, is none
    verdicts = document.get("verdicts") if isinstance(document, dict) and document.get("schema") == _SCHEMA else None
    return verdicts if isinstance(verdicts, dict) else {}


def _path() -> Path:
    return cache_home() / "accelerator.json"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
