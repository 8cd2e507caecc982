"""What the boot probe found, remembered: a file of the cache that several processes may write; the last one counts.

A verdict holds for one boot of this host, one QEMU, one CPU model and one device.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vm_manager.backends.qemu.kvm_device import KVM_DEVICE
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.owners import read_own, require_own_directory
from vm_manager.host.paths import cache_home
from vm_manager.state.files import make_dir, write_atomically

_log = logging.getLogger(__name__)

_SCHEMA = 2
_READ_BYTES = 256 * 1024
_REMEMBERED = 32
# A probe that was given up says little about a host that was busy then.
_UNCERTAIN_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """Whether KVM boots guests. message, lines: where it does not, why, and what shows it. at: seconds since the epoch."""

    boots: bool
    message: str = ""
    lines: tuple[str, ...] = ()
    certain: bool = True
    at: float = 0.0


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
        ]
    )


def recall(about: str) -> Verdict | None:
    """The verdict, unless there is none that still counts."""
    found = _read().get(about)
    try:
        verdict = Verdict(**{**found, "lines": tuple(found["lines"])}) if isinstance(found, dict) else None
    except (TypeError, KeyError):
        return None
    if verdict is None or verdict.certain:
        return verdict
    return verdict if 0 <= time.time() - verdict.at < _UNCERTAIN_S else None


def remember(about: str, verdict: Verdict) -> None:
    """Keep a verdict; a cache that cannot be written is no failure."""
    known = {**_read()}
    known.pop(about, None)
    known[about] = {**asdict(verdict), "at": time.time()}
    kept = dict(list(known.items())[-_REMEMBERED:])
    try:
        require_own_directory(cache_home(), "XDG_CACHE_HOME")
        make_dir(cache_home())
        write_atomically(_path(), json.dumps({"schema": _SCHEMA, "verdicts": kept}).encode(), durable=False)
    except VmError as error:
        _log.info("the verdict on KVM is not kept: %s", error)


def _read() -> Mapping[str, object]:
    try:
        require_own_directory(cache_home(), "XDG_CACHE_HOME")
        document = json.loads(read_own(_path(), _READ_BYTES))
        verdicts = document["verdicts"] if document["schema"] == _SCHEMA else {}
    except (OSError, VmError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # a cache that cannot be read, or that is not ours, is none
    return verdicts if isinstance(verdicts, dict) else {}


def _path() -> Path:
    return cache_home() / "accelerator.json"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
