"""Blocks → specs: defaults filled in, which are those of the specs' classes, and paths made absolute.

Only of VMFiles without problems.
"""

from __future__ import annotations

from pathlib import Path

from vm_manager.domain.spec import (
    Accelerator,
    CloudInit,
    ImageSource,
    NetworkMode,
    OnError,
    Provisioner,
    ProvisionerKind,
    SshAccess,
    VmSpec,
)
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.language import RUN_ONCE
from vm_manager.vmfile.paths import absolute

_MIB = 1024**2


def resolve(vm: Block, directory: Path) -> VmSpec:
    """The spec of a vm block. directory: the VMFile's, which relative paths start from."""
    return _Resolver(directory).vm(vm)


class _Resolver:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def vm(self, vm: Block) -> VmSpec:
        cloud_init, ssh, network = vm.first("cloud-init"), vm.first("ssh"), vm.first("network")
        return VmSpec(
            name=vm.text,
            image=self._image(vm),
            vcpus=vm.value("vcpus", int, VmSpec.vcpus),
            memory_mib=vm.value("memory", int, VmSpec.memory_mib * _MIB) // _MIB,
            disk_bytes=_number(vm, "disk"),
            accelerator=Accelerator(vm.value("accel", str, VmSpec.accelerator)),
            cpu=_text(vm, "cpu"),
            boot_timeout_s=_number(vm, "boot-timeout"),
            network=NetworkMode(network.text) if network else VmSpec.network,
            isolated=network.value("isolated", bool, VmSpec.isolated) if network else VmSpec.isolated,
            cloud_init=self._cloud_init(cloud_init, vm.text) if cloud_init else None,
            ssh=self._ssh(ssh) if ssh else None,
            provisioners=tuple(map(self._provisioner, vm.all("provision"))),
            depends_on=_dependencies(vm),
            span=vm.span,
        )

    def _image(self, vm: Block) -> ImageSource:
        fetched = vm.first("image-url")
        if fetched is None:
            return ImageSource(path=self._path(vm, "image"))
        return ImageSource(
            url=_text(vm, "image-url"),
            sha256=_text(fetched, "sha256"),
            sha512=_text(fetched, "sha512"),
            checksum_url=_text(fetched, "checksum-url"),
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
        return SshAccess(
            user=block.value("user", str, SshAccess.user),
            private_key=self._path(block, "private-key"),
            port=block.value("port", int, SshAccess.port),
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
