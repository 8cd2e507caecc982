"""What can be told from /dev/kvm alone, at once.

Source: Documentation/virt/kvm/api.rst of the Linux kernel, KVM_CREATE_VM.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
from pathlib import Path

from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.diagnostics.model import Evidence

KVM_DEVICE = Path("/dev/kvm")
_CREATE_VM = 0xAE01


def device_finding(device: Path = KVM_DEVICE) -> KvmUnusable | None:
    """Why this user cannot open the device, or None when it opens, which does not say that it works."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return _unusable(
            "this host has no {device}",
            device,
            "to get it, enable virtualization in the firmware and load the module: `sudo modprobe kvm_intel` or"
            " `sudo modprobe kvm_amd`; in a virtual machine, its host must allow nested virtualization",
        )
    except PermissionError as error:
        return _unusable("{device} may not be opened", device, _how_to_get_in(device, error), _call("open", error))
    except OSError as error:
        # ENXIO, ENODEV: a device file without its module.
        help = "load the module: `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`; `sudo dmesg` says why it refuses"
        return _unusable("{device} cannot be opened", device, help, _call("open", error))
    return None


def is_held(device: Path = KVM_DEVICE) -> bool:
    """Whether another hypervisor, not of the kernel, has the processor's virtualization."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(descriptor, _CREATE_VM, 0))
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(descriptor)
    return False


def _how_to_get_in(device: Path, error: PermissionError) -> str:
    """By the node's owner and mode: which group opens it, and whether this user is in it already."""
    try:
        status = device.stat()
        owners = grp.getgrgid(status.st_gid)
        user = pwd.getpwuid(os.geteuid()).pw_name
    except (OSError, KeyError):
        return f"ask the administrator of this host for access to {device}"
    readable = status.st_mode & (stat.S_IRGRP | stat.S_IWGRP) == stat.S_IRGRP | stat.S_IWGRP
    in_group = status.st_gid in (os.getegid(), *os.getgroups())
    if error.errno == errno.EPERM or os.geteuid() == 0 or (readable and in_group):
        # Not the node's permissions: a container's device rules, or a security module.
        return f"allow the device where this session is confined; a container needs `--device {device}`"
    if not readable or status.st_gid == 0:
        join = '`sudo usermod -aG kvm "$USER"`, then log in again'
        make = "" if _has_group("kvm") else "`sudo groupadd --system kvm`, "
        return f"give a group access to it: {make}`sudo chgrp kvm {device}`, `sudo chmod 660 {device}` and {join}"
    if user in owners.gr_mem:
        return f"you are in its group already, but not in this session: log in again, or run `newgrp {owners.gr_name}`"
    return f'join the group that owns it: `sudo usermod -aG {owners.gr_name} "$USER"`, then log in again'


def _has_group(name: str) -> bool:
    try:
        return bool(grp.getgrnam(name))
    except KeyError:
        return False


def _call(name: str, error: OSError) -> Evidence:
    return Evidence("probe", str(KVM_DEVICE), (f"{name}: {error.strerror}",))


def _unusable(template: str, device: Path, help: str, evidence: Evidence | None = None) -> KvmUnusable:
    return KvmUnusable(
        template,
        {"device": str(device)},
        help=(help, KvmUnusable.entry.help),
        evidence=(evidence,) if evidence else (),
    )
