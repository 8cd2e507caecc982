"""Every word of the VMFile goes the whole way: into the spec, to QEMU, and into what is shown of a VM.

A new word fails here until each of its stations knows it, or is said to have no use for it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from unit.samples import full_spec, instance
from unit.vmfile.bullets import HOST
from vm_manager.backends.qemu.accelerator import Choice, Processor, choose
from vm_manager.backends.qemu.command import command_line
from vm_manager.backends.qemu.disks import BaseDisk
from vm_manager.backends.qemu.firmware import UefiFirmware
from vm_manager.backends.qemu.shares import Server, Sharing
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.network import Forward, Peer
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Accelerator, CloudInit, Drive, Effect, Firmware, ImageSource, SshAccess, VmSpec
from vm_manager.ui.documents import status_item
from vm_manager.ui.tables import status_lines
from vm_manager.vmfile.language import VM
from vm_manager.vmfile.load import load

_PRIVATE = 'network "private" name="backend"'
#: By the word of the VMFile, a line that sets it to something else than its default.
_LINES = {
    "image": 'image "other.qcow2"',
    "arch": 'arch "aarch64"',
    "vcpus": "vcpus 3",
    "memory": "memory 512",
    "disk": "disk 7",
    "accel": 'accel "tcg"',
    "cpu": 'cpu "qemu64"',
    "boot-timeout": "boot-timeout 7",
    "network": 'network "none"',
    "forward": 'network "user" { forward host=8080 guest=80; }',
    "the VMs on its private network": _PRIVATE,
    "isolated": 'network "user" isolated=#true',
    "firmware": 'firmware "uefi"',
    "drive": 'drive "data" size=10',
    "mount": 'mount "." "/srv"',
    "cloud-init": 'cloud-init { hostname "shop"; }',
    "ssh": 'ssh { user "ada"; }',
    "provision": 'provision "shell" { inline "true"; }',
    "depends-on": 'depends-on "db"',
}
#: By the field of the spec, another value than in `full_spec`.
_VALUES: dict[str, Any] = {
    "name": "mail",
    "image": ImageSource(path="/images/other.qcow2"),
    "arch": Architecture.AARCH64,
    "vcpus": 3,
    "memory_mib": 512,
    "disk_bytes": 7 * 1024**3,
    "accelerator": Accelerator.TCG,
    "cpu": "qemu64",
    "boot_timeout_s": 7,
    "networks": (),
    "forwards": (Forward(host=8080, guest=80),),
    "peers": (Peer(name="db", address="10.5.0.2"),),
    "isolated": True,
    "firmware": Firmware.UEFI,
    "drives": (Drive(name="data", size_bytes=10 * 1024**3),),
    "mounts": (Mount(source="/home", target="/srv"),),
    "cloud_init": CloudInit(hostname="bakery"),
    "ssh": SshAccess(user="ada", port=24),
    "provisioners": (),
    "depends_on": ("db",),
}
#: What a running VM is shown without. image: of the record, which says what the disk was made on; accelerator: what was chosen;
#: ssh: where it is forwarded to; the others are the VMFile's.
_NOT_SHOWN = {"image", "accelerator", "ssh", "cpu", "boot_timeout_s", "cloud_init", "depends_on", "peers"}
#: What a start tells the guest over SSH, and not QEMU.
_NOT_FOR_QEMU = {"peers"}


def _fields() -> dict[str, Effect]:
    return {field.name: field.metadata["effect"] for field in fields(VmSpec) if field.name != "span"}


def _load(directory: Path, line: str) -> VmSpec:
    image = "" if line.startswith("image") else 'image "disk.qcow2"; '
    text = f'vm "web" {{ {image}{line} }}\nvm "db" {{ image "disk.qcow2"; {_PRIVATE}; }}\n'
    (directory / "VMFile.kdl").write_text(text)
    return load(directory / "VMFile.kdl", platform=HOST).specs[0]


def test_there_is_an_example_of_every_word_and_of_every_field() -> None:
    assert set(_LINES) == {field.metadata["word"] for field in fields(VmSpec)} - {"", "vm"}
    assert set(_VALUES) == set(_fields())
    # A URL is an image.
    assert {entry.name for entry in VM.entries} - {"image-url"} <= set(_LINES)


@pytest.mark.parametrize(
    "field", [field for field in fields(VmSpec) if field.metadata["word"] in _LINES], ids=lambda it: it.name
)
def test_a_word_of_the_vmfile_reaches_its_field(tmp_path: Path, field: Any) -> None:
    for name in ("disk.qcow2", "other.qcow2"):
        (tmp_path / name).touch()
    plain, changed = _load(tmp_path, ""), _load(tmp_path, _LINES[field.metadata["word"]])
    assert getattr(plain, field.name) != getattr(changed, field.name)


def _choice(spec: VmSpec) -> Choice:
    if spec.accelerator is Accelerator.TCG:
        return choose(spec.accelerator, Processor(spec.arch, spec.cpu, Path("unused")))
    return Choice(Accelerator.KVM, "kvm", spec.cpu or "host", "it works")


def _argv(spec: VmSpec) -> list[str]:
    return command_line(
        spec,
        base=BaseDisk("/images/base.qcow2", "qcow2"),
        qemu=Path("/usr/bin/qemu-system-x86_64"),
        choice=_choice(spec),
        uuid="11111111-2222-3333-4444-555555555555",
        macs=("52:54:00:12:34:56",)[: len(spec.networks)],
        forwards=(spec.ssh_forward, *spec.forwards) if spec.networks else (),
        firmware=UefiFirmware(Path("/code"), "raw", Path("/vars"), "raw") if spec.firmware is Firmware.UEFI else None,
        sharing=Sharing(Server("/usr/libexec/virtiofsd", old=False), "there") if spec.mounts else None,
        with_seed=True,
    )


@pytest.mark.parametrize(
    "name", [name for name, effect in _fields().items() if effect is Effect.AT_START and name not in _NOT_FOR_QEMU]
)
def test_what_takes_effect_at_a_start_changes_the_command_line(name: str) -> None:
    assert _argv(full_spec()) != _argv(replace(full_spec(), **{name: _VALUES[name]}))


@pytest.mark.parametrize("name", sorted(set(_VALUES) - _NOT_SHOWN))
def test_what_a_vm_has_is_shown(name: str) -> None:
    before, after = instance(full_spec()), instance(replace(full_spec(), **{name: _VALUES[name]}))
    assert status_item(before) != status_item(after)
    assert status_lines(before) != status_lines(after)
