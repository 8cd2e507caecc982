"""What QEMU may do to this host: what each file on its command line needs, and no more.

The VM's record and keys are not among them, though they lie beside: a QEMU that a guest has taken over shall not write down
what the next one is to be granted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vm_manager.backends.qemu.disks import writable_disks
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.kvm_device import KVM_DEVICE
from vm_manager.domain.instance import InstanceRecord
from vm_manager.domain.network import Forward, Transport
from vm_manager.host.landlock import FileId
from vm_manager.host.sandbox import Sandbox

_NAME_SERVERS = Path("/etc/resolv.conf")
_ANY_PORT = 0
# Those below are root's. Source: ip(7), ip_unprivileged_port_start.
_NOT_RESERVED = 1024


def qemu_sandbox(
    record: InstanceRecord,
    files: QemuFiles,
    forwards: Sequence[Forward],
    base: FileId | None = None,
    *,
    ports_at: Sequence[Path] = (),
) -> Sandbox:
    """The sandbox of a VM's QEMU.

    forwards: the ports of this host that lead into the guest. base: which file the image has to be.
    ports_at: its directories on private networks.
    """
    ports = [forward.host for forward in forwards if forward.host and forward.transport is Transport.TCP]
    reached = record.spec.user_network is not None
    online = reached and not record.spec.isolated
    return Sandbox(
        read=(Path(record.base_image.path), files.seed, *(_name_servers() if online else ())),
        pinned={Path(record.base_image.path): base} if base else {},
        write=(*writable_disks(record.spec, files).values(), files.pid, *files.machine_logs),
        sockets_in=(files.home, *ports_at),
        devices=(KVM_DEVICE,),
        ports=(_ANY_PORT, *ports) if reached else (),
        connect=online,
        low_ports=any(forward.host and forward.host < _NOT_RESERVED for forward in forwards),
    )


def probe_sandbox() -> Sandbox:
    """The sandbox of a QEMU whose disk is a descriptor."""
    return Sandbox(devices=(KVM_DEVICE,))


def _name_servers() -> tuple[Path, ...]:
    """QEMU reads them anew all the time, and whoever keeps them replaces the file: so the directory that it lies in.

    Not for root, whom all of /etc would be open.
    """
    found = _NAME_SERVERS.resolve()
    whole = found.parent != _NAME_SERVERS.parent or os.geteuid() != 0
    return (found.parent if whole else found,)
