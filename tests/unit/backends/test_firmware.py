"""Which UEFI firmware is taken: by descriptors, the user's own first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vm_manager.backends.qemu.firmware import UefiFirmware, find_firmware
from vm_manager.domain.architecture import Architecture


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the user's own descriptors."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    directory = tmp_path / "qemu" / "firmware"
    directory.mkdir(parents=True)
    return directory


def _descriptor(directory: Path, name: str, **changes: Any) -> Path:
    code, variables = directory / f"{name}.code", directory / f"{name}.vars"
    code.touch()
    variables.touch()
    plain = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "qcow2"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": ["acpi-s3"],
    }
    (directory / name).write_text(json.dumps({**plain, **changes}))
    return code


def test_the_users_own_firmware_is_taken_by_the_order_of_names(own: Path) -> None:
    _descriptor(own, "10-second.json")
    code = _descriptor(own, "00-first.json")
    assert find_firmware(Architecture.X86_64) == UefiFirmware(code, "qcow2", code.with_suffix(".vars"), "raw")


@pytest.mark.parametrize(
    "unfit",
    [
        {"features": ["requires-smm", "secure-boot"]},
        {"interface-types": ["bios"]},
        {"targets": [{"architecture": "aarch64", "machines": ["virt-*"]}]},
        {"targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*"]}]},
        {"mapping": {"device": "memory", "filename": "/x"}},
        {"mapping": {"device": "flash", "executable": {"filename": "/nowhere", "format": "raw"}}},
        {"targets": None},
        {"features": 7, "mapping": []},
    ],
    ids=str,
)
def test_what_does_not_fit_is_passed_over(own: Path, unfit: dict[str, Any]) -> None:
    _descriptor(own, "00-unfit.json", **unfit)
    (own / "01-damaged.json").write_text("{" * 100_000)
    (own / "02-list.json").write_text("[]")
    code = _descriptor(own, "03-good.json")
    assert find_firmware(Architecture.X86_64).code == code


def test_a_descriptor_for_another_architecture_is_for_its_machines(own: Path) -> None:
    _descriptor(own, "00-x86.json")
    code = _descriptor(own, "01-arm.json", targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    assert find_firmware(Architecture.AARCH64).code == code
