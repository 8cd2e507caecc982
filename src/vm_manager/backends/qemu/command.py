"""The QEMU command line of a guest: a pure function of its spec. Source: qemu(1), and QEMU's docs/system/.

QEMU runs with the VM's directory as working directory, so every file of the VM is named without a directory: a UNIX
socket's path may have 108 bytes only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from vm_manager.backends.qemu.accelerator import Choice
from vm_manager.backends.qemu.disks import BaseDisk
from vm_manager.backends.qemu.files import NAMES
from vm_manager.backends.qemu.firmware import UefiFirmware
from vm_manager.backends.qemu.history import TRACED
from vm_manager.backends.qemu.shares import Sharing, device_options, machine_options
from vm_manager.backends.qemu.sockets import (
    AGENT_SOCKET,
    CONSOLE_CHARDEV,
    CONSOLE_SOCKET,
    QMP_SOCKET,
    QUERY_SOCKET,
    VNC_SOCKET,
)
from vm_manager.backends.qemu.switch import SWITCH_SOCKET
from vm_manager.backends.qemu.tap import tap_netdev
from vm_manager.backends.qemu.targets import TARGETS, Target
from vm_manager.domain.network import Forward, NetworkMode
from vm_manager.domain.spec import VmSpec
from vm_manager.host.image_header import QCOW2

#: The nodes of the root disk, and of the image below it.
ROOT_NODE, BASE_NODE = "root", "base"
#: The nodes of UEFI's code and of its variables.
CODE_NODE, VARIABLES_NODE = "firmware-code", "firmware-variables"


def command_line(
    spec: VmSpec,
    *,
    base: BaseDisk,
    qemu: Path,
    choice: Choice,
    uuid: str,
    macs: Sequence[str],
    forwards: Sequence[Forward],
    networks: Mapping[int, str] = MappingProxyType({}),
    firmware: UefiFirmware | None = None,
    sharing: Sharing | None = None,
    with_seed: bool,
) -> list[str]:
    """The arguments that start the guest.

    base: what its disk stands on. macs: of its cards, in their order. networks: the directories of private networks, by card.
    sharing: how its shared directories are; None: it has none.
    firmware: UEFI's; None: BIOS. forwards: all ports of this host that lead into it; where `host` is None QEMU picks a free one.
    """
    target = TARGETS[spec.arch]
    return [
        str(qemu),
        *_machine(spec, target, choice, uuid, f"{_flash(firmware)}{machine_options(sharing)}"),
        *(_uefi(firmware) if firmware else ()),
        *_root_disk(base),
        *(word for drive in spec.drives for word in _drive(drive.name)),
        *(_seed() if with_seed else ()),
        *_networks(spec, macs, forwards, networks),
        *_devices(target),
        # Behind the others, whose places on the bus stay the same.
        *device_options(spec, sharing),
        *_control(),
    ]


def _flash(firmware: UefiFirmware | None) -> str:
    return f",pflash0={CODE_NODE},pflash1={VARIABLES_NODE}" if firmware else ""


def _machine(spec: VmSpec, target: Target, choice: Choice, uuid: str, more: str) -> list[str]:
    return [
        # No devices but ours, and no configuration file of the host's.
        "-nodefaults",
        "-no-user-config",
        "-name", f"guest={spec.name}",
        "-uuid", uuid,
        "-machine", f"{target.machine}{more}",
        "-accel", choice.options,
        "-cpu", choice.cpu,
        "-smp", str(spec.vcpus),
        "-m", f"{spec.memory_mib}M",
        "-rtc", "base=utc",
    ]  # fmt: skip


def _uefi(firmware: UefiFirmware) -> list[str]:
    code, variables = str(firmware.code), str(NAMES.efi_variables)
    return [
        "-blockdev", _json(driver="file", node_name=f"{CODE_NODE}-file", filename=code, read_only=True),
        "-blockdev", _json(driver=firmware.code_format, node_name=CODE_NODE, file=f"{CODE_NODE}-file", read_only=True),
        "-blockdev", _json(driver="file", node_name=f"{VARIABLES_NODE}-file", filename=variables),
        "-blockdev", _json(driver="qcow2", node_name=VARIABLES_NODE, file=f"{VARIABLES_NODE}-file", backing=None),
    ]  # fmt: skip


def _root_disk(base: BaseDisk) -> list[str]:
    # The whole chain, with formats: what an image says of others, or comes to say, is not asked for.
    end = {"backing": None} if base.format == QCOW2 else {}
    return [
        "-blockdev", _json(driver="file", node_name=f"{BASE_NODE}-file", filename=base.path, read_only=True),
        "-blockdev", _json(driver=base.format, node_name=BASE_NODE, file=f"{BASE_NODE}-file", read_only=True, **end),
        "-blockdev", _json(driver="file", node_name="root-file", filename=str(NAMES.overlay), discard="unmap"),
        "-blockdev", _json(driver="qcow2", node_name=ROOT_NODE, file="root-file", discard="unmap", backing=BASE_NODE),
        "-device", f"virtio-blk-pci,id=disk0,drive={ROOT_NODE},bootindex=1",
    ]  # fmt: skip


def disk_nodes(spec: VmSpec) -> tuple[str, ...]:
    """The nodes of the disks that the guest writes to; the root disk's first. A machine's memory has the UEFI variables."""
    return (ROOT_NODE, *(_drive_node(drive.name) for drive in spec.drives))


def _drive_node(name: str) -> str:
    return f"drive-{name}"


def _drive(name: str) -> list[str]:
    node, filename = _drive_node(name), str(NAMES.drive(name))
    return [
        "-blockdev", _json(driver="file", node_name=f"{node}-file", filename=filename, discard="unmap"),
        "-blockdev", _json(driver="qcow2", node_name=node, file=f"{node}-file", discard="unmap", backing=None),
        # /dev/disk/by-id/virtio-NAME: the order in which the guest finds its disks is nobody's promise.
        "-device", f"virtio-blk-pci,id=disk-{name},drive={node},serial={name}",
    ]  # fmt: skip


def _seed() -> list[str]:
    # On virtio-scsi: Debian's cloud kernel has no AHCI driver and would never see a CD-ROM on q35's own bus.
    return [
        "-blockdev", _json(driver="file", node_name="seed-file", filename=str(NAMES.seed), read_only=True),
        "-blockdev", _json(driver="raw", node_name="seed", file="seed-file", read_only=True),
        "-device", "virtio-scsi-pci,id=scsi0",
        "-device", "scsi-cd,id=cd0,bus=scsi0.0,drive=seed",
    ]  # fmt: skip


def _networks(spec: VmSpec, macs: Sequence[str], forwards: Sequence[Forward], networks: Mapping[int, str]) -> list[str]:
    argv: list[str] = []
    for number, (card, mac) in enumerate(zip(spec.networks, macs, strict=True)):
        name = f"net{number}"
        if card.mode is NetworkMode.TAP:
            argv += ["-netdev", tap_netdev(name)]
        elif card.mode is NetworkMode.PRIVATE:
            argv += ["-netdev", _private_network(name, networks[number], f"{spec.name}/{number}")]
        else:
            assert card.mode is NetworkMode.USER, "what cannot be run has been refused"
            argv += ["-netdev", _user_network(name, forwards, isolated=spec.isolated)]
        # Without a boot ROM on a bridge: a guest whose disk does not boot must not boot what somebody there offers.
        rom = ",romfile=" if card.mode is NetworkMode.TAP else ""
        argv += ["-device", f"virtio-net-pci,id=nic{number},netdev={name},mac={mac}{rom}"]
    return argv


def _private_network(name: str, directory: str, port: str) -> str:
    """See `switch`: frames go to the switch, and come at a socket of this machine's own."""
    local, remote = f"{directory}/{port}", f"{directory}/{SWITCH_SOCKET}"
    return f"dgram,id={name},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"


def _user_network(name: str, forwards: Sequence[Forward], *, isolated: bool) -> str:
    # In QEMU's own words: the guest is isolated, and what is forwarded into it explicitly is not affected.
    restrict = ("restrict=on",) if isolated else ()
    return ",".join(("user", f"id={name}", *restrict, *(f"hostfwd={forward_rule(forward)}" for forward in forwards)))


def forward_rule(forward: Forward) -> str:
    """A forward as QEMU's options and its `hostfwd_add` take it."""
    return f"{forward.transport}:{forward.address}:{forward.host or 0}-:{forward.guest}"


def _devices(target: Target) -> list[str]:
    return [
        "-object", "rng-random,id=rng0,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=rng0",
        "-device", "virtio-balloon-pci",
        "-device", target.panic,
        "-device", "virtio-serial-pci,id=serial0",
        "-chardev", _socket("agent", AGENT_SOCKET),
        "-device", "virtserialport,id=agent0,bus=serial0.0,chardev=agent,name=org.qemu.guest_agent.0",
        "-chardev", f"{_socket(CONSOLE_CHARDEV, CONSOLE_SOCKET)},logfile={NAMES.console_log},logappend=on",
        "-serial", f"chardev:{CONSOLE_CHARDEV}",
        *target.screen,
        "-display", "none",
        "-vnc", f"unix:{VNC_SOCKET}",
    ]  # fmt: skip


def _control() -> list[str]:
    return [
        # One QMP socket serves one client and lets a second hang: one for the holder of the VM's lock, one for readers.
        "-chardev", _socket("qmp", QMP_SOCKET),
        "-mon", "chardev=qmp,mode=control",
        "-chardev", _socket("query", QUERY_SOCKET),
        "-mon", "chardev=query,mode=control",
        "-pidfile", str(NAMES.pid),
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        # A panicked guest stays to be looked at; by default QEMU would exit with 0.
        "-action", "panic=pause",
        # What happens gets a time, even when nobody listens.
        *_traces(),
        "-msg", "timestamp=on",
    ]  # fmt: skip


def _traces() -> list[str]:
    *others, last = TRACED
    return [word for event in (*others, f"{last},file={NAMES.events_log}") for word in ("-trace", event)]


def _socket(name: str, path: str) -> str:
    return f"socket,id={name},path={path},server=on,wait=off"


def _json(**options: object) -> str:
    # The JSON form needs no doubling of commas.
    return json.dumps({name.replace("_", "-"): value for name, value in options.items()})
