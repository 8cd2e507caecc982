"""Where private networks lie on this host: a directory for each, beside those of the VMs, and in it one for each VM.

A network belongs to the VMFile that its VMs come from: VMs of another one are not on it, whatever its name is there.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.network import NetworkMode
from vm_manager.state.files import make_dir

_NETWORKS = "networks"
_ID_CHARS = 12


def networks_of(record: InstanceRecord) -> dict[int, str]:
    """The directories of the private networks that a VM is on, by the number of its card, seen from the VM's directory."""
    cards = enumerate(record.spec.networks)
    return {number: _seen(record.origin, str(it.name)) for number, it in cards if it.mode is NetworkMode.PRIVATE}


def make_ports(record: InstanceRecord, files: QemuFiles) -> tuple[Path, ...]:
    """The directories in which a VM's QEMU makes its sockets, made where they are missing.

    Raises: `host::disk_full`, `host::permission_denied`, `io`.
    """
    ports = tuple(files.home / network / record.name for network in networks_of(record).values())
    for port in ports:
        make_dir(port)
    return tuple(port.resolve() for port in ports)


def remove_ports(name: str, home: Path) -> None:
    """Remove a VM from all private networks, after its QEMU has ended."""
    for port in (home.parent.parent / _NETWORKS).glob(f"*/{name}"):
        shutil.rmtree(port, ignore_errors=True)


def _seen(origin: str, name: str) -> str:
    identity = hashlib.sha256(f"{origin}\0{name}".encode()).hexdigest()[:_ID_CHARS]
    return f"../../{_NETWORKS}/{identity}"
