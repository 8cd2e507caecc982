"""UEFI firmware of this host, found by its descriptors. Source: QEMU's docs/interop/firmware.json."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vm_manager.backends.qemu.answers import mapping
from vm_manager.backends.qemu.targets import TARGETS
from vm_manager.diagnostics.errors import MissingFirmware
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.host.image_header import QCOW2, RAW
from vm_manager.host.tools import how_to_install

_DESCRIPTOR_BYTES = 64 * 1024
# SMM is a machine option that a plain q35 has not got, and what is enrolled decides which systems boot.
_UNFIT = frozenset({"requires-smm", "enrolled-keys", "amd-sev-snp", "intel-tdx"})
# Where there are no descriptors: Debian and Ubuntu, Fedora, Arch, Alpine.
_KNOWN = {
    Architecture.X86_64: (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ),
    Architecture.AARCH64: (
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ),
}
_OR_BIOS = ('or boot with BIOS: leave out `firmware "uefi"`, if the image can do that',)
# What `how_to_install` knows it by.
_PACKAGES = {Architecture.X86_64: "ovmf", Architecture.AARCH64: "aavmf"}


@dataclass(frozen=True)
class UefiFirmware:
    """code: what is executed. variables: what a VM's own variable store is a copy of. With their formats: raw or qcow2."""

    code: Path
    code_format: str
    variables: Path
    variables_format: str


def find_firmware(arch: Architecture) -> UefiFirmware:
    """The firmware that our machines of an architecture can boot with. Raises: `host::missing_firmware`."""
    for descriptor in _descriptors():
        if (found := _fitting(descriptor, arch)) is not None:
            return found
    for code, variables in _KNOWN[arch]:
        if Path(code).is_file() and Path(variables).is_file():
            return UefiFirmware(Path(code), RAW, Path(variables), RAW)
    looked = tuple(f"{directory}/*.json: none that fits" for directory in _directories())
    raise MissingFirmware(
        "no UEFI firmware for {architecture} guests is installed",
        {"architecture": str(arch)},
        help=(how_to_install(_PACKAGES[arch]), *(_OR_BIOS if arch is Architecture.X86_64 else ())),
        evidence=(Evidence("probe", "firmware descriptors of QEMU", looked),),
    )


def _directories() -> tuple[Path, ...]:
    """Where descriptors are, the user's own first."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (own / "qemu/firmware", Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))


def _descriptors() -> Iterator[Mapping[str, object]]:
    """All descriptors, in the order of their names; one of the same name in an earlier directory replaces a later one."""
    files: dict[str, Path] = {}
    for directory in _directories():
        with suppress(OSError):
            for path in directory.glob("*.json"):
                files.setdefault(path.name, path)
    for name in sorted(files):
        # An empty file hides the one that it replaces.
        with suppress(OSError, Unreadable), files[name].open("rb") as file:
            yield mapping(parse(file.read(_DESCRIPTOR_BYTES), most_bytes=_DESCRIPTOR_BYTES))


def _fitting(descriptor: Mapping[str, object], arch: Architecture) -> UefiFirmware | None:
    flash = mapping(descriptor.get("mapping"))
    unfit = _UNFIT & _words(descriptor.get("features"))
    if "uefi" not in _words(descriptor.get("interface-types")) or unfit or not _is_target(descriptor, arch):
        return None
    if flash.get("device") != "flash" or flash.get("mode", "split") != "split":
        return None
    code, variables = mapping(flash.get("executable")), mapping(flash.get("nvram-template"))
    found = UefiFirmware(
        Path(str(code.get("filename"))), str(code.get("format")),
        Path(str(variables.get("filename"))), str(variables.get("format")),
    )  # fmt: skip
    known = {found.code_format, found.variables_format} <= {RAW, QCOW2}
    return found if known and found.code.is_file() and found.variables.is_file() else None


def _is_target(descriptor: Mapping[str, object], arch: Architecture) -> bool:
    targets = descriptor.get("targets")
    return isinstance(targets, list) and any(
        mapping(target).get("architecture") == arch
        and any(
            fnmatchcase(TARGETS[arch].firmware_machine, pattern) for pattern in _words(mapping(target).get("machines"))
        )
        for target in targets
    )


def _words(value: object) -> set[str]:
    return {word for word in value if isinstance(word, str)} if isinstance(value, list) else set()
