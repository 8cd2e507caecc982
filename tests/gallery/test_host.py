"""What the host lacks"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bridged import bridged
from driver import BLANK, Vmctl, blank_disk, without_tool
from first_screen import Gallery
from kvm_hosts import on_host

_DEMANDS_KVM = BLANK.replace('accel "tcg"', 'accel "kvm"')


# An accelerator that does not work


@pytest.fixture
def without_kvm(blank: Vmctl, tmp_path: Path) -> Vmctl:
    """A project on a host whose KVM aborts."""
    return on_host(blank, tmp_path, "aborts")


def _shows_no_kvm(gallery: Gallery, vmctl: Vmctl, *arguments: str, place: str | None, **env: str) -> None:
    gallery.shows(
        vmctl(*arguments, status=None, env=env),
        "vm_manager::host::kvm_unusable",
        place=place,
        says=("KVM does not boot guests on this host", "to run without KVM"),
        status=0 if "plan" in arguments or "--dry-run" in arguments else None,
    )
    gallery.by_hand('set `accel "tcg"` in the VMFile')
    vmctl.write(BLANK)


def test_kvm_that_a_vmfile_demands(without_kvm: Vmctl, gallery: Gallery) -> None:
    """`accel "kvm"`, and KVM does not work on this host"""
    without_kvm.write(_DEMANDS_KVM)
    _shows_no_kvm(gallery, without_kvm, "up", place="VMFile.kdl:1:1")
    gallery.works(without_kvm("up"))


def test_the_plan_for_kvm_that_a_vmfile_demands(without_kvm: Vmctl, gallery: Gallery) -> None:
    """`vmctl plan` with `accel "kvm"`, and KVM does not work on this host"""
    without_kvm.write(_DEMANDS_KVM)
    _shows_no_kvm(gallery, without_kvm, "plan", place="VMFile.kdl:1:1")
    gallery.works(without_kvm("plan"))
    assert "kvm_unusable" not in without_kvm("plan").stderr


def test_kvm_that_an_option_demands(without_kvm: Vmctl, gallery: Gallery) -> None:
    """`vmctl up --accel kvm`, and KVM does not work on this host"""
    _shows_no_kvm(gallery, without_kvm, "up", "--accel", "kvm", place=None)
    gallery.works(without_kvm("up"))


def test_a_dry_run_with_kvm_that_an_option_demands(without_kvm: Vmctl, gallery: Gallery) -> None:
    """`vmctl up --dry-run --accel kvm`, and KVM does not work on this host"""
    _shows_no_kvm(gallery, without_kvm, "up", "--dry-run", "--accel", "kvm", place=None)
    gallery.works(without_kvm("up", "--dry-run"))


def test_kvm_that_a_variable_demands(without_kvm: Vmctl, gallery: Gallery) -> None:
    """`VMCTL_ACCEL=kvm`, and KVM does not work on this host"""
    _shows_no_kvm(gallery, without_kvm, "up", place=None, VMCTL_ACCEL="kvm")
    gallery.works(without_kvm("up"))


# Networks


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces and bridges")
def test_a_bridge_that_does_not_exist(vmctl: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`network "tap"`, and the host has no such bridge, but another one"""
    blank_disk(vmctl.directory)
    vmctl.write(BLANK.replace("memory 64", 'memory 64\n    network "tap" bridge="lan0"'))
    with bridged(tmp_path / "network") as network:
        there = replace(vmctl, prefix=network.enter)
        gallery.shows(
            there("up", status=None),
            "vm_manager::network::bridge_missing",
            place="VMFile.kdl:4:26",
            says=("the bridge lan0 does not exist", "use a bridge that exists: `br0`", "ip link add lan0 type bridge"),
        )
        gallery.by_hand("create it, as root")
        network.run("sh", "-c", "ip link add lan0 type bridge && ip link set lan0 up")
        gallery.works(there("up"))
        there("destroy", "blank")


# A VM that does not fit


def test_a_disk_that_is_smaller_than_its_image(vmctl: Vmctl, gallery: Gallery) -> None:
    """`vmctl validate`, and `disk` is smaller than the image"""
    blank_disk(vmctl.directory, "5G")
    vmctl.write(BLANK.replace("memory 64", "memory 64\n    disk 1"))
    gallery.shows(
        vmctl("validate"),
        "vm_manager::vmfile::validation",
        place="VMFile.kdl:4:10",
        says=("smaller than its image, which has 5 GiB", "disk 5"),
        status=0,
    )
    gallery.by_hand("write at least `disk 5`")
    vmctl.write(BLANK.replace("memory 64", "memory 64\n    disk 5"))
    gallery.works(vmctl("up"))


def test_a_disk_that_is_smaller_than_a_small_image(vmctl: Vmctl, gallery: Gallery) -> None:
    """`vmctl validate`, and `disk` is smaller than an image of less than 1 GiB"""
    blank_disk(vmctl.directory, "64M")
    vmctl.write(BLANK.replace("memory 64", 'memory 64\n    disk "32MiB"'))
    gallery.shows(
        vmctl("validate"),
        "vm_manager::vmfile::validation",
        place="VMFile.kdl:4:10",
        says=("smaller than its image, which has 64 MiB",),
        status=0,
    )
    gallery.by_hand('write at least `disk "64MiB"`')
    vmctl.write(BLANK.replace("memory 64", 'memory 64\n    disk "64MiB"'))
    gallery.works(vmctl("up"))


def test_up_with_a_disk_that_is_smaller_than_its_image(vmctl: Vmctl, gallery: Gallery) -> None:
    """`vmctl up`, and `disk` is smaller than the image"""
    blank_disk(vmctl.directory, "5G")
    vmctl.write(BLANK.replace("memory 64", "memory 64\n    disk 1"))
    gallery.shows(
        vmctl("up", status=None),
        "vm_manager::image::overlay_creation_failed",
        place=None,
        says=("a disk of 1 GiB is smaller than its image, which has 5 GiB",),
    )
    gallery.by_hand("leave it out")
    vmctl.write(BLANK)
    gallery.works(vmctl("up"))


def test_more_memory_than_the_host_can_give(blank: Vmctl, gallery: Gallery) -> None:
    """`memory` is more than the host has"""
    blank.write(BLANK.replace("memory 64", 'memory "16000GiB"'))
    gallery.shows(
        blank("up", status=None),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("Cannot allocate memory", "MiB are available", "`memory` in the VMFile"),
    )
    gallery.by_hand("give the VM less than")
    blank.write(BLANK)
    gallery.works(blank("up"))


def test_a_cpu_model_that_does_not_exist(blank: Vmctl, gallery: Gallery) -> None:
    """`cpu` names a model that QEMU does not have"""
    blank.write(BLANK.replace('accel "tcg"', 'accel "tcg"\n    cpu "Haswel"'))
    gallery.shows(
        blank("up", status=None),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("did you mean `Haswell`?",),
        never=("ConnectError", "Errno"),
    )
    gallery.fix(blank, "-cpu help")
    blank.write(BLANK.replace('accel "tcg"', 'accel "tcg"\n    cpu "Haswell"'))
    gallery.works(blank("up"))


# Programs


def _fake_qemu(directory: Path, script: str) -> str:
    """A PATH whose QEMU is a script."""
    directory.mkdir()
    program = directory / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def test_a_qemu_that_is_too_old(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """The QEMU on PATH is too old"""
    says = '[ "$1" = --version ] && echo "QEMU emulator version 4.2.1 (Debian 1:4.2)" && exit'
    path = _fake_qemu(tmp_path / "old", f"{says}\necho 'qemu-system-x86_64: invalid option' >&2\nexit 1")
    gallery.shows(
        blank("up", status=None, env={"PATH": path}),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("QEMU: 4.2", "install QEMU 7.2 or newer"),
    )
    gallery.by_hand("install QEMU 7.2")
    gallery.works(blank("up"))


def test_a_qemu_that_crashes(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """The QEMU on PATH crashes whenever it is started"""
    path = _fake_qemu(tmp_path / "broken", "kill -SEGV $$")
    gallery.shows(
        blank("up", status=None, env={"PATH": path}),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("QEMU was killed by SIGSEGV", "take a broken one out of PATH"),
        never=("quoted above",),
    )
    gallery.by_hand("take a broken one out of PATH")
    gallery.works(blank("up"))


def test_no_qemu(blank: Vmctl, gallery: Gallery) -> None:
    """QEMU is not installed"""
    gallery.shows(
        without_tool(blank, "qemu-system-x86_64")("up", status=None),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("QEMU is not installed",),
    )
    gallery.by_hand("install")
    gallery.works(blank("up"))


def test_the_plan_without_qemu(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl plan`, and QEMU is not installed"""
    gallery.shows(
        without_tool(blank, "qemu-system-x86_64")("plan", status=None),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("QEMU is not installed",),
        status=0,
    )
    gallery.by_hand("install")
    gallery.works(blank("plan"))


def test_the_plan_without_qemu_img(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl plan`, and qemu-img is not installed"""
    gallery.shows(
        without_tool(blank, "qemu-img")("plan", status=None),
        "vm_manager::image::overlay_creation_failed",
        place=None,
        says=("qemu-img is not installed",),
        status=0,
    )
    gallery.by_hand("install")
    gallery.works(blank("plan"))


def test_ssh_without_openssh(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh`, and OpenSSH's client is not installed; `vmctl up` does without"""
    without = without_tool(running, "ssh")
    without("up")
    gallery.shows(
        without("ssh", "tiny", "--", "true", status=None),
        "vm_manager::ssh::failed",
        place=None,
        says=("OpenSSH's client is not installed",),
    )
    gallery.by_hand("install")
    gallery.works(running("ssh", "tiny", "--", "true"))


def test_kvm_that_does_not_answer_in_time(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`--accel kvm`, and KVM hangs, or the host is too busy to tell"""
    host = on_host(blank, tmp_path, "hangs")
    gallery.shows(
        host("up", "--accel", "kvm", status=None),
        "vm_manager::host::kvm_unusable",
        place=None,
        says=("did not boot a guest in time", "did not finish in", "if this host was only busy, try again"),
        never=("does not boot guests on this host",),
    )
    gallery.by_hand("if this host was only busy, try again")
    stand_in = tmp_path / "tools" / "qemu-system-x86_64"
    stand_in.write_text(stand_in.read_text().replace("'KVM_HOST': 'hangs'", "'KVM_HOST': 'works'"))
    gallery.works(host("up", "--accel", "kvm"))
