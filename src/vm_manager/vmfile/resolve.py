"""Blocks → specs: defaults filled in, which are those of the specs' classes, and paths made absolute.

Only of VMFiles without problems.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vm_manager.domain.architecture import DEFAULT_ARCHITECTURE, Architecture, is_foreign
from vm_manager.domain.network import BRIDGE, Forward, Network, NetworkMode, Peer, Transport
from vm_manager.domain.private_network import address_of, mac_beside, mac_on
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import (
    Accelerator,
    CloudInit,
    Drive,
    Firmware,
    ImageSource,
    OnError,
    Provisioner,
    ProvisionerKind,
    SshAccess,
    VmSpec,
    usual_firmware,
)
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.language import RUN_ONCE
from vm_manager.vmfile.paths import absolute, guest_path, real

_MIB = 1024**2


def resolve(vms: Iterable[Block], directory: Path) -> tuple[VmSpec, ...]:
    """The specs of vm blocks. directory: the VMFile's, which relative paths start from."""
    specs = tuple(map(_Resolver(directory).vm, vms))
    on: dict[str, list[Peer]] = {}
    for spec in sorted(specs, key=lambda it: it.name):
        for card in spec.private_cards:
            on.setdefault(card.name or "", []).append(
                Peer(name=spec.name, address=(card.address or "").partition("/")[0])
            )
    return tuple(
        replace(
            spec, peers=tuple(it for card in spec.private_cards for it in on[card.name or ""] if it.name != spec.name)
        )
        for spec in specs
    )


class _Resolver:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def vm(self, vm: Block) -> VmSpec:
        cloud_init, ssh, user = vm.first("cloud-init"), vm.first("ssh"), _user_network(vm)
        arch = Architecture(vm.value("arch", str, DEFAULT_ARCHITECTURE))
        return VmSpec(
            name=vm.text,
            image=self._image(vm, arch),
            arch=arch,
            vcpus=vm.value("vcpus", int, VmSpec.vcpus),
            memory_mib=vm.value("memory", int, VmSpec.memory_mib * _MIB) // _MIB,
            disk_bytes=_number(vm, "disk"),
            accelerator=Accelerator(vm.value("accel", str, VmSpec.accelerator)),
            cpu=_text(vm, "cpu"),
            boot_timeout_s=_number(vm, "boot-timeout"),
            networks=_networks(vm),
            forwards=tuple(map(_forward, user.all("forward"))) if user else VmSpec.forwards,
            isolated=user.value("isolated", bool, VmSpec.isolated) if user else VmSpec.isolated,
            firmware=Firmware(vm.value("firmware", str, usual_firmware(arch))),
            drives=tuple(map(_drive, vm.all("drive"))),
            mounts=tuple(map(self._mount, vm.all("mount"))),
            cloud_init=self._cloud_init(cloud_init, vm.text) if cloud_init else None,
            ssh=self._ssh(ssh) if ssh else None,
            provisioners=tuple(map(self._provisioner, vm.all("provision"))),
            depends_on=_dependencies(vm),
            span=vm.span,
        )

    def _image(self, vm: Block, arch: Architecture) -> ImageSource:
        fetched = vm.first("image-url")
        if fetched is None:
            file = vm.get("image", str)
            return ImageSource(path=self._path(vm, "image"), span=file.span if file else None)
        url = vm.get("image-url", str)
        return ImageSource(
            url=url.value if url else None,
            architecture=arch if is_foreign(arch) else None,
            span=url.span if url else None,
            sha256=_text(fetched, "sha256"),
            sha512=_text(fetched, "sha512"),
            checksum_url=_text(fetched, "checksum-url"),
        )

    def _mount(self, block: Block) -> Mount:
        source, target = (str(value.value) if value else "" for value in block.values)
        return Mount(
            source=str(real(source, self._directory)),
            target=guest_path(target),
            read_only=block.value("read-only", bool, Mount.read_only),
            span=block.values[0].span if block.values[0] else block.span,
        )

    def _cloud_init(self, block: Block, name: str) -> CloudInit:
        return CloudInit(
            hostname=block.value("hostname", str, name),
            ssh_key=self._path(block, "ssh-key"),
            user_data=self._path(block, "user-data"),
            network_config=self._path(block, "network-config"),
            on_error=OnError(block.value("on-error", str, CloudInit.on_error)),
        )

    def _ssh(self, block: Block) -> SshAccess:
        user = block.get("user", str)
        return SshAccess(
            user=user.value if user else SshAccess.user,
            private_key=self._path(block, "private-key"),
            port=block.value("port", int, SshAccess.port),
            span=user.span if user else None,
        )

    def _provisioner(self, step: Block) -> Provisioner:
        return Provisioner(
            kind=ProvisionerKind(step.text),
            inline=_text(step, "inline"),
            script=self._path(step, "script"),
            source=self._path(step, "source"),
            destination=_text(step, "destination"),
            env=tuple(map(_variable, step.all("env"))),
            once=step.value("run", str, "") == RUN_ONCE,
            mode=_mode(step),
            owner=_text(step, "owner"),
            span=step.span,
        )

    def _path(self, block: Block, name: str) -> str | None:
        text = _text(block, name)
        return None if text is None else str(absolute(text, self._directory))


def _user_network(vm: Block) -> Block | None:
    return next((network for network in vm.all("network") if network.text == NetworkMode.USER), None)


def _networks(vm: Block) -> tuple[Network, ...]:
    written = tuple(vm.all("network"))
    if not written:
        return VmSpec.networks
    cards = [_card(block, vm.text) for block in written if block.text != NetworkMode.NONE]
    if all(card.mode is not NetworkMode.PRIVATE for card in cards):
        return tuple(cards)
    # The guest's network configuration names each card by it. One on a bridge gets its own from the backend: there it meets
    # those of other hosts.
    number = next((number for number, it in enumerate(cards) if it.mac is None and it.mode is NetworkMode.USER), None)
    if number is not None:
        cards[number] = replace(cards[number], mac=mac_beside(vm.text))
    return tuple(cards)


def _card(block: Block, vm: str) -> Network:
    mode, mac = NetworkMode(block.text), _lower(_text(block, "mac"))
    if mode is NetworkMode.TAP:
        bridge = block.get("bridge", str)
        name, span = (bridge.value, bridge.span) if bridge else (BRIDGE, block.span)
        return Network(mode=mode, mac=mac, bridge=name, span=span)
    if mode is not NetworkMode.PRIVATE:
        return Network(mode=mode, mac=mac)
    name = _text(block, "name") or ""
    address = _text(block, "address") or address_of(name, vm)
    return Network(mode=mode, mac=mac or mac_on(address), name=name, address=address)


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _forward(block: Block) -> Forward:
    key, host = block.first("host"), block.get("host", int)
    return Forward(
        guest=block.value("guest", int, 0),
        host=host.value if host else None,
        transport=Transport(block.value("protocol", str, Forward.transport)),
        address=block.value("address", str, Forward.address),
        span=key.span if key else block.span,
    )


def _drive(block: Block) -> Drive:
    size = block.get("size", int)
    return Drive(name=block.text, size_bytes=size.value if size else 0, span=size.span if size else block.span)


def _dependencies(vm: Block) -> tuple[str, ...]:
    named = (value.value for block in vm.all("depends-on") for value in block.values if value)
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


def _text(block: Block, name: str) -> str | None:
    found = block.get(name, str)
    return found.value if found else None


def _variable(block: Block) -> tuple[str, str]:
    name, value = (str(found.value) if found else "" for found in block.values)
    return name, value


def _mode(step: Block) -> int | None:
    text = _text(step, "mode")
    return None if text is None else int(text, 8)


def _number(block: Block, name: str) -> int | None:
    found = block.get(name, int)
    return found.value if found else None
