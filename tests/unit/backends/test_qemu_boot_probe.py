"""The boot in miniature: the sector is what its source says, and a real QEMU boots it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import vm_manager.backends.qemu.boot_probe as probe_module
from vm_manager.backends.qemu.boot_probe import STEPS, boot_probe

_FOLDER = Path(probe_module.__file__).parent


def _qemu() -> Path:
    found = shutil.which("qemu-system-x86_64")
    assert found, "tests/guest/host-packages installs it"
    return Path(found)


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_sector_is_made_of_its_source(tmp_path: Path) -> None:
    made, binary = tmp_path / "boot_probe.o", tmp_path / "boot_probe.bin"
    subprocess.run(["as", "--64", "-o", str(made), str(_FOLDER / "boot_probe.S")], check=True)
    linked = ["ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary", "-o", str(binary), str(made)]
    subprocess.run(linked, check=True)
    assert binary.read_bytes() == (_FOLDER / "boot_probe.bin").read_bytes()


def test_every_step_is_in_the_source_in_this_order() -> None:
    source = (_FOLDER / "boot_probe.S").read_text()
    places = [source.index(f"SAY     '{letter}'") for letter in STEPS]
    assert len(places) == len(STEPS)
    assert source.count("SAY     '") == len(STEPS)


@pytest.mark.parametrize("cpu", ["max", "qemu64", "Nehalem", "core2duo"])
def test_an_accelerator_that_works_takes_every_step(cpu: str) -> None:
    found = boot_probe(_qemu(), "tcg,thread=multi", cpu)
    assert (found.failed_step, found.timed_out, found.reached) == (None, False, "".join(STEPS)), found


def test_a_processor_without_long_mode_fails_at_that_step() -> None:
    found = boot_probe(_qemu(), "tcg", "pentium3")
    assert found.failed_step == "entering long mode", found


def test_an_option_that_qemu_does_not_know_is_told_in_its_words() -> None:
    found = boot_probe(_qemu(), "tcg", "no-such-model")
    assert (found.reached, found.ended) == ("", "exited with 1")
    assert "no-such-model" in found.said[0]


def test_having_said_everything_is_not_enough(tmp_path: Path) -> None:
    found = boot_probe(_script(tmp_path / "qemu", "printf rbplcmfxtsB"), "kvm", "host")
    assert (found.failed_step, found.ended) == ("going back to real mode", "reset the machine")


def test_a_flood_is_bounded_and_so_is_the_time(tmp_path: Path) -> None:
    found = boot_probe(_script(tmp_path / "qemu", "exec yes error >&2"), "kvm", "host")
    assert (found.timed_out, len(found.said)) == (True, 6)
