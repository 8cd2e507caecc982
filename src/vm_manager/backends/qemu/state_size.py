"""How much room the state of a running machine needs on the disk: known before it is written, and fills the disk in vain."""

from __future__ import annotations

from pathlib import Path

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.domain.instance import InstanceRecord
from vm_manager.host.disk_space import require_free

_MIB = 1024 * 1024
# Devices and video memory, beside the guest's own.
_DEVICES_BYTES = 64 * _MIB


def require_room(record: InstanceRecord, files: QemuFiles, into: Path) -> None:
    """Raises: `host::disk_full` when the pages that the guest has touched cannot fit where a file is to be written."""
    most = record.spec.memory_mib * _MIB + _DEVICES_BYTES
    needed = min(most, _resident_bytes(lock_owner(files.pid)) or most)
    require_free(into, needed, "the machine's state takes up to")


def _resident_bytes(pid: int | None) -> int | None:
    """The memory that a process has touched, in bytes. Source: VmRSS and VmSwap in proc(5)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    figures = [int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmRSS:", "VmSwap:"))]
    return sum(figures) or None
