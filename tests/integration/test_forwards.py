"""Ports of the host that lead into a guest: real traffic, ports that are taken, two commands that want one."""

from __future__ import annotations

import os
import re
import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import BLANK, Vmctl, blank_disk, ended, interrupted, listening, processes_below, qemu_processes
from proofs import prove


def _project(vmctl: Vmctl, *forwards: str, vm: str = "blank") -> Vmctl:
    lines = "\n        ".join(f"forward {forward}" for forward in forwards)
    text = BLANK.replace("memory 64", f'memory 64\n    network "user" {{\n        {lines}\n    }}')
    vmctl.write(text.replace('"blank" {', f'"{vm}" {{'))
    return vmctl


def _forwards(vmctl: Vmctl, vm: str = "blank") -> list[tuple[str, str, int, int]]:
    found = vmctl("status", vm, "--json").json["vm"]["forwards"]
    return [(it["protocol"], it["address"], it["host_port"], it["guest_port"]) for it in found]


def test_forwards_carry_traffic_and_nothing_else_listens(vmctl: Vmctl, tiny: TinyGuest) -> None:
    serve = "mkdir /www; for port in 80 81; do echo $port >/www/$port; httpd -p $port -h /www; done"
    network = 'network "user" { forward host="auto" guest=80; forward host="auto" guest=81 address="127.0.0.2"; }'
    vmctl.write(tiny.vm(body=f'{network}\n    provision "shell" {{ inline "{serve}"; }}'))
    vmctl("up")
    ports = {guest: (address, host) for _, address, host, guest in _forwards(vmctl, "tiny")}
    assert ports[81][0] == "127.0.0.2"
    for guest, (address, host) in ports.items():
        with urllib.request.urlopen(f"http://{address}:{host}/{guest}", timeout=60) as answer:
            assert answer.read().decode() == f"{guest}\n"
    vm = vmctl("status", "tiny", "--json").json["vm"]
    (pid,) = qemu_processes(vmctl.data)
    assert sorted(listening(pid)) == sorted([("127.0.0.1", vm["ssh"]["port"]), *ports.values()])


def test_a_free_port_is_picked_and_kept_from_start_to_start(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    _project(vmctl, 'host="auto" guest=80', 'host="auto" guest=53 protocol="udp"')("up")
    first = _forwards(vmctl)
    assert [(protocol, guest) for protocol, _, _, guest in first] == [("tcp", 80), ("udp", 53)]
    assert "127.0.0.1:" in vmctl("status", "blank").stdout
    vmctl("down", "--timeout", "0")
    vmctl("up")
    assert _forwards(vmctl) == first
    # Taken meanwhile, it is another one: nobody has demanded it.
    vmctl("down", "--timeout", "0")
    with socket.create_server(("127.0.0.1", first[0][2])):
        vmctl("up")
    assert _forwards(vmctl)[0][2] not in (None, first[0][2])


def test_a_port_that_is_taken_is_told_before_anything_is_made(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = _project(vmctl, f"host={port} guest=80")("up", status=None)
        prove(result, "vm_manager::network::port_in_use")
        assert "--> VMFile.kdl:5:17" in result.stderr
        assert f"in use by {Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})" in result.stderr
        assert vmctl("list", "--quiet").stdout == ""
    vmctl("up")
    assert _forwards(vmctl) == [("tcp", "127.0.0.1", port, 80)]
    # Its own port is in no VM's way.
    vmctl("restart", "blank", "--timeout", "0")
    vmctl("reload", "--timeout", "5")


def test_a_port_that_cannot_be_had_is_told_before_anything_is_made(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    result = _project(vmctl, 'host=8097 guest=80 address="192.0.2.1"')("up", status=None)
    prove(result, "vm_manager::network::port_unavailable")
    assert vmctl("list", "--quiet").stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may listen on such a port")
def test_a_port_that_is_reserved_for_root_is_roots(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    _project(vmctl, "host=97 guest=80", 'host=98 guest=80 protocol="udp"')("up")
    assert "no capability but CAP_DAC_OVERRIDE and CAP_NET_BIND_SERVICE)" in vmctl("status", "blank").stdout
    with socket.create_connection(("127.0.0.1", 97), 10):
        pass


def test_one_vm_whose_port_is_taken_stops_no_other(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = _project(vmctl, f"host={server.getsockname()[1]} guest=80").directory / "VMFile.kdl"
        vmctl.write(text.read_text() + BLANK.replace('"blank" {', '"other" {'))
        assert vmctl("up", status=6).code == "vm_manager::network::port_in_use"
    assert vmctl("list", "--quiet").stdout == "other\n"


def test_two_commands_want_one_port_and_one_gets_it(vmctl: Vmctl, tmp_path: Path) -> None:
    blank_disk(vmctl.directory)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "second").mkdir()
    other = Vmctl(tmp_path / "second", vmctl.data)
    blank_disk(other.directory)
    _project(vmctl, f"host={port} guest=80", vm="one")
    _project(other, f"host={port} guest=80", vm="two")
    for _ in range(3):
        both = [vmctl.start("up"), other.start("up")]
        results = [ended(process) for process in both]
        assert sorted(result.status for result in results) == [0, 6]
        loser = next(result for result in results if result.status == 6)
        assert loser.code == "vm_manager::network::port_in_use", loser.stderr
        assert "VMFile.kdl:5:17" in loser.stderr
        assert len(qemu_processes(vmctl.data)) == 1
        vmctl.destroy_all()


def test_a_vm_that_moves_takes_its_ports_with_it(vmctl: Vmctl, tmp_path: Path) -> None:
    blank_disk(vmctl.directory)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    _project(vmctl, f"host={port} guest=80", f'host={port} guest=53 protocol="udp" address="0.0.0.0"')("up")
    (tmp_path / "there" / "vmctl").mkdir(parents=True)
    there = replace(vmctl, data=tmp_path / "there")
    wanted = [("tcp", "127.0.0.1", port, 80), ("udp", "0.0.0.0", port, 53)]
    try:
        moved = vmctl("migrate", "blank", "--to", str(there.data / "vmctl"))
        assert "warning" not in moved.stderr.replace("warning[vm_manager::host::kvm_unusable]", "")
        assert sorted(_forwards(there)) == sorted(wanted)
        (pid,) = qemu_processes(there.data)
        assert ("127.0.0.1", port) in listening(pid)
        there("suspend", "--to-disk", "blank")
        there("resume", "blank")
        assert sorted(_forwards(there)) == sorted(wanted)
    finally:
        there.destroy_all()


def test_ports_are_forwarded_into_a_running_guest_until_ctrl_c(running: Vmctl) -> None:
    running(
        "ssh",
        "tiny",
        "--",
        "mkdir -p /tmp/www; echo by request >/tmp/www/index.html; httpd -p 127.0.0.1:80 -h /tmp/www",
    )
    forwarding = running.start("forward", "tiny", "80", start_new_session=True)
    assert forwarding.stdout is not None
    line = forwarding.stdout.readline()
    found = re.fullmatch(r"127\.0\.0\.1:(\d+) -> tiny:80\n", line)
    assert found, line
    port = int(found[1])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
        assert page.read() == b"by request\n"
    taken = running("forward", "tiny", f"{port}:80", status=6)
    assert taken.code == "vm_manager::network::port_unavailable"
    assert "`vmctl forward tiny 80` picks a free one" in taken.stderr
    assert interrupted(forwarding).status == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10)
    twice = running("forward", "tiny", f"{port}:80", f"{port}:81", status=6)
    assert twice.code == "vm_manager::network::port_unavailable"
    wrong = running("forward", "tiny", "80/udp", status=2)
    assert "'80/udp' is not a forward" in wrong.stderr


def test_a_port_on_which_nothing_in_the_guest_listens_is_told_once(running: Vmctl) -> None:
    forwarding = running.start("forward", "tiny", "80", start_new_session=True)
    assert forwarding.stdout is not None
    assert forwarding.stderr is not None
    port = int(forwarding.stdout.readline().split(":")[1].split()[0])
    for _ in range(3):
        with (
            pytest.raises(OSError, match=r"."),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page,
        ):
            page.read()
    lines = [forwarding.stderr.readline() for _ in range(2)]
    told = next(line for line in lines if "press Ctrl-C" not in line)
    found = re.fullmatch(r"nothing in VM 'tiny' listens on port 80: `vmctl ssh tiny -- '(.*)'` shows what does\n", told)
    assert found, told
    assert ":22" in running("ssh", "tiny", "--", found[1]).stdout
    running("ssh", "tiny", "--", "mkdir /tmp/www; echo now >/tmp/www/index.html; httpd -p 127.0.0.1:80 -h /tmp/www")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
        assert page.read() == b"now\n"
    assert interrupted(forwarding).stderr == ""


def test_a_vm_from_options_has_forwards_a_mac_address_and_drives(blank: Vmctl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    blank(
        *("create", "--name", "box", "--image", "blank.qcow2", "--memory", "32", "--start"),
        *("--forward", f"{port}:80", "--forward", "53/udp", "--mac", "52:54:00:AB:CD:EF"),
        *("--drive", "data=64MiB", "--drive", "logs=1GiB"),
        status=10,  # the firmware finds nothing to boot, and the VM runs on
    )
    shown = blank("port", "box").stdout
    assert f"127.0.0.1:{port}" in shown
    assert "53/udp" in shown
    (argv,) = (it for it in processes_below(blank.home("box")) if "-nodefaults" in it)
    assert "mac=52:54:00:ab:cd:ef" in argv
    assert "serial=data" in argv
    assert "serial=logs" in argv


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--forward", "http"), "'http' is not a forward"),
        (("--forward", "1.2.3.400:80:80"), "'1.2.3.400:80:80' is not a forward"),
        (
            ("--forward", "8080:80", "--forward", "0.0.0.0:8080:81"),
            "the host port of '0.0.0.0:8080:81' is forwarded twice",
        ),
        (("--mac", "01:00:00:00:00:00"), "'01:00:00:00:00:00' is not the MAC address of a card"),
        (("--drive", "data"), "'data' is not a drive with a valid size"),
        (("--drive", "data=64"), "'data=64' is not a drive with a valid size"),
        (("--drive", "a/b=1GiB"), "'a/b' cannot be the name of a drive"),
        (("--drive", "data=1GiB", "--drive", "data=2GiB"), "the drive 'data' is given twice"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_made(
    blank: Vmctl, words: tuple[str, ...], said: str
) -> None:
    refused = blank("create", "--name", "box", "--image", "blank.qcow2", *words, status=2)
    assert refused.code == "vmctl::usage"
    assert said in refused.stderr
    assert blank("list", "--quiet").stdout == ""
