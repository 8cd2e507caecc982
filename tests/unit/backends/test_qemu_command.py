"""The QEMU command line of a guest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unit.golden import assert_golden, command_text
from unit.samples import full_spec, spec
from vm_manager.backends.qemu.accelerator import Choice, Processor, choose
from vm_manager.backends.qemu.command import command_line
from vm_manager.backends.qemu.disks import BaseDisk
from vm_manager.backends.qemu.firmware import UefiFirmware
from vm_manager.backends.qemu.query import forwards_in, host_port
from vm_manager.backends.qemu.shares import Server, Sharing
from vm_manager.backends.qemu.tap import with_taps
from vm_manager.diagnostics.errors import KvmUnusable
from vm_manager.domain.architecture import Architecture
from vm_manager.domain.network import Forward, Network, NetworkMode, Transport
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Accelerator, Firmware, VmSpec

_KVM = Choice(Accelerator.KVM, "kvm", "host", "it works")


def _processor(arch: Architecture = Architecture.X86_64, cpu: str | None = None) -> Processor:
    return Processor(arch, cpu, Path("missing"))


def _argv(wanted: VmSpec, **changes: Any) -> list[str]:
    options: dict[str, Any] = {
        "base": BaseDisk("/images/base.qcow2", "qcow2"),
        "qemu": Path("/usr/bin/qemu-system-x86_64"),
        "choice": _KVM,
        "uuid": "11111111-2222-3333-4444-555555555555",
        "macs": ("52:54:00:12:34:56",)[: len(wanted.networks)],
        "forwards": (wanted.ssh_forward,) if wanted.networks else (),
        "with_seed": True,
    }
    return command_line(wanted, **(options | changes))


def _at(host: int | None, guest: int) -> Forward:
    return Forward(host=host, guest=guest)


def test_a_guest_with_everything() -> None:
    tcg = choose(Accelerator.TCG, _processor(cpu="max"))
    assert_golden("qemu-full.txt", command_text(_argv(full_spec(), choice=tcg, forwards=(_at(40022, 2222),))))


def test_a_guest_with_no_more_than_a_disk() -> None:
    wanted = spec(ssh=None, networks=())
    base = BaseDisk("/images/base.raw", "raw")
    assert_golden("qemu-least.txt", command_text(_argv(wanted, with_seed=False, base=base)))


def test_no_file_of_the_vm_is_named_by_more_than_its_name() -> None:
    # A UNIX socket's path may have 108 bytes, and the VM's directory is the working directory.
    assert [
        word for word in _argv(full_spec())[1:] if "/" in word and "/dev/" not in word and "base-file" not in word
    ] == []


def test_the_guests_own_ssh_port_is_forwarded_from_the_loopback_address_only() -> None:
    (forward,) = [word for word in _argv(full_spec(), forwards=(_at(40022, 2222),)) if "hostfwd" in word]
    assert forward == "user,id=net0,hostfwd=tcp:127.0.0.1:40022-:2222"


def test_an_isolated_guest_reaches_nothing_and_its_ssh_port_is_forwarded_all_the_same() -> None:
    (netdev,) = [word for word in _argv(replace(full_spec(), isolated=True)) if "hostfwd" in word]
    assert netdev == "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:2222"


def test_a_card_on_a_bridge_has_a_descriptor_that_is_filled_in_when_qemu_is_started() -> None:
    cards = (Network(), Network(mode=NetworkMode.TAP, bridge="br0"), Network(mode=NetworkMode.TAP, bridge="br1"))
    macs = ("52:54:00:12:34:56", "52:54:00:12:34:57", "52:54:00:12:34:58")
    argv = _argv(spec(networks=cards), macs=macs)
    assert_golden("qemu-tap.txt", command_text(with_taps(argv, {1: 17, 2: 18})))
    assert [word for word in with_taps(argv, {2: 18}) if "fd=" in word] == ["tap,id=net1,fd=N", "tap,id=net2,fd=18"]


# Shared directories

_SHARED = replace(
    full_spec(),
    mounts=(
        Mount(source='/home/me/a, "b" c\\ü', target="/srv/my files"),
        Mount(source="/home/me/src", target="/srv/src", read_only=True),
    ),
)


def test_shared_directories_are_devices_behind_the_others_and_no_path_of_theirs_is_qemus() -> None:
    sharing = Sharing(Server("/usr/libexec/virtiofsd", old=False), "it is there")
    argv = _argv(_SHARED, sharing=sharing)
    assert_golden("qemu-virtiofs.txt", command_text(argv))
    assert not any("/home/me" in word or "/srv" in word for word in argv)


@pytest.mark.parametrize("as_root", [False, True])
def test_by_9p_qemu_is_told_the_paths(as_root: bool) -> None:
    argv = _argv(_SHARED, sharing=Sharing(None, "no virtiofsd", as_root=as_root))
    assert_golden(f"qemu-9p{'-as-root' if as_root else ''}.txt", command_text(argv))


# Accelerators


def test_tcg_is_chosen_without_a_look_at_the_host_and_takes_the_cpu_that_is_wanted() -> None:
    assert choose(Accelerator.TCG, _processor()) == Choice(
        Accelerator.TCG, "tcg,thread=multi,tb-size=512", "max", "as chosen"
    )
    assert choose(Accelerator.TCG, _processor(cpu="qemu64")).cpu == "qemu64"


def test_a_guest_of_a_foreign_architecture_is_emulated_and_nobody_asks_whether_kvm_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    choice = choose(Accelerator.AUTO, _processor(Architecture.AARCH64))
    assert (choice.accelerator, choice.cpu, choice.refused) == (Accelerator.TCG, "max,pauth-impdef=on", None)
    with pytest.raises(KvmUnusable, match="cannot run aarch64 guests on this host, which is x86_64"):
        choose(Accelerator.KVM, _processor(Architecture.AARCH64))


def test_an_aarch64_guest() -> None:
    choice = choose(Accelerator.TCG, _processor(Architecture.AARCH64))
    wanted = spec(arch=Architecture.AARCH64, firmware=Firmware.UEFI)
    firmware = UefiFirmware(Path("/firmware/code.fd"), "raw", Path("/firmware/vars.fd"), "raw")
    qemu = Path("/usr/bin/qemu-system-aarch64")
    assert_golden("qemu-aarch64.txt", command_text(_argv(wanted, choice=choice, firmware=firmware, qemu=qemu)))


# What QEMU says

_USERNET = """\
Hub 0 (net0):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   23       127.0.0.1 40022       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  14       127.0.0.1 43521       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  15       127.0.0.1 43522       10.0.2.15    80     0     0
  UDP[HOST_FORWARD]  16       127.0.0.1 43523       10.0.2.15    53     0     0
"""


@pytest.mark.parametrize(("guest", "host"), [(22, 43521), (80, 43522), (53, None), (8080, None), (2, None)])
def test_the_port_that_qemu_has_picked_is_read_from_its_table(guest: int, host: int | None) -> None:
    for text in (_USERNET, _USERNET.replace("\n", "\r\n")):
        assert host_port(forwards_in(text), _at(None, guest)) == host


def test_the_table_of_ports_has_transports_and_addresses() -> None:
    table = _USERNET.replace("15       127.0.0.1 43522", "15               * 43522")
    assert forwards_in(table)[1:] == (
        Forward(host=43522, guest=80, address="0.0.0.0"),
        Forward(host=43523, guest=53, transport=Transport.UDP),
    )


@pytest.mark.parametrize("text", ["", "unknown command: 'info usernet'", "TCP[HOST_FORWARD] 14 127.0.0.1"])
def test_other_answers_name_no_port(text: str) -> None:
    assert forwards_in(text) == ()
