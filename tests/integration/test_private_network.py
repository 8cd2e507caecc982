"""Private networks with real guests: they reach each other by name, whatever becomes of the switch; nobody else does."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import Vmctl

_BACKEND = 'network "user"; network "private" name="backend"'
_PING = "ping -c 2 -w 20 {} >/dev/null"


def _cards_up(vmctl: Vmctl, *names: str) -> None:
    """What cloud-init does in an image that has it: the tiny guest has none."""
    for name in names:
        (address,) = _addresses(vmctl, name)
        vmctl("ssh", name, f"ip link set eth1 up && ip addr add {address} dev eth1")


def _addresses(vmctl: Vmctl, name: str) -> list[str]:
    cards = vmctl("status", name, "--json").json["vm"]["networks"]
    return [card["address"] for card in cards if card["mode"] == "private"]


def _networks(vmctl: Vmctl) -> Path:
    return vmctl.home("db").parent.parent / "networks"


def _keepers(network: Path) -> dict[bool, list[int]]:
    """The processes that are ready to be the switch; under True the one that is it."""
    holders: dict[bool, list[int]] = {True: [], False: []}
    inode = (network / ".lock").stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            open_there = [number for number in (process / "fd").iterdir() if number.readlink() == network / ".lock"]
            for number in open_there:
                holders[f":{inode} " in (process / "fdinfo" / number.name).read_text()].append(int(process.name))
        except OSError:
            continue  # it has ended
    return holders


@pytest.fixture
def two(vmctl: Vmctl, tiny: TinyGuest) -> Vmctl:
    """VMs `web` and `db` on a private network, and `alone`, which is on another one of the same VMFile."""
    alone = 'network "user"; network "private" name="other"'
    vms = [tiny.vm("web", f'{_BACKEND}; depends-on "db"'), tiny.vm("db", _BACKEND), tiny.vm("alone", alone)]
    vmctl.write("".join(vms))
    vmctl("up", "web", "db")
    _cards_up(vmctl, "web", "db")
    return vmctl


def test_vms_of_one_file_reach_each_other_by_name_whatever_happens_to_them(two: Vmctl) -> None:
    two("ssh", "web", _PING.format("db"))
    two("ssh", "db", _PING.format("web"))
    two("ssh", "db", "mkdir -p /www; dd if=/dev/urandom of=/www/file bs=64k count=64 2>/dev/null; httpd -h /www")
    sums = [two("ssh", name, command).stdout.split()[0] for name, command in (
        ("db", "md5sum /www/file"), ("web", "wget -q -O - http://db/file | md5sum")
    )]  # fmt: skip
    assert sums[0] == sums[1]
    # The switch ends: another one takes over.
    (network,) = _networks(two).iterdir()
    (serving,) = _keepers(network)[True]
    os.kill(serving, signal.SIGKILL)
    two("ssh", "web", _PING.format("db"))
    two("suspend", "--to-disk", "db")
    two("resume", "db")
    two("ssh", "web", _PING.format("db"))
    two("restart", "--timeout", "0", "db")
    _cards_up(two, "db")
    two("ssh", "db", _PING.format("web"))
    # Nobody else of this host gets in, and nothing listens on a port.
    assert all(path.stat().st_mode & 0o077 == 0 for path in (network, *network.rglob("*")) if not path.is_file())
    assert stat.S_ISSOCK((network / ".switch").stat().st_mode)
    _keeps_others_out(network, two)


def _keeps_others_out(network: Path, vmctl: Vmctl) -> None:
    """Neither by its path, were everything above it open, nor through a QEMU that stands beside it."""
    for above in network.parents:
        if vmctl.data not in (above, *above.parents):
            above.chmod(above.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    pid = vmctl("status", "web", "--json").json["vm"]["pid"]
    for way in (network, Path(f"/proc/{pid}/cwd/../../networks/{network.name}")):
        send = (
            f"import os, socket; os.chdir({os.fspath(way)!r}); "
            "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x' * 60, '.switch')"
        )
        stranger = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "/usr/bin/python3", "-c", send]
        refused = subprocess.run(stranger, capture_output=True, text=True, check=False, cwd="/")
        assert "PermissionError" in refused.stderr
        subprocess.run(["/usr/bin/python3", "-c", send], check=True, cwd="/")  # as their owner can


def test_other_networks_and_other_projects_are_not_reached(two: Vmctl, tiny: TinyGuest, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    project = Vmctl(tmp_path / "other", two.data)
    project.write(tiny.vm("third", f'{_BACKEND} address="10.200.0.2/8"'))
    two("up", "alone")
    project("up")
    _cards_up(two, "alone")
    _cards_up(project, "third")
    for stranger in ("alone", "third"):
        for address in _addresses(two, "db"):
            two("ssh", stranger, f"ip route add 10.128.0.0/9 dev eth1; ! {_PING.format(address.partition('/')[0])}")
    two("ssh", "web", _PING.format("db"))
    two("destroy", "web", "db", "alone", "third")
    assert [path for path in _networks(two).glob("*/*") if path.is_dir()] == []


def test_a_vm_that_is_added_is_known_after_the_next_start(two: Vmctl, tiny: TinyGuest) -> None:
    text = (two.directory / "VMFile.kdl").read_text()
    two.write(text + tiny.vm("cache", _BACKEND))
    told = two("up", "web").stdout
    assert "the VMs on its private network changed: takes effect after `vmctl down` and `vmctl up`" in told
    assert "cache" not in two("ssh", "web", "cat /etc/hosts").stdout
    two("down", "--timeout", "0", "web")
    # That the image has no cloud-init was told when it first came up.
    assert "cloud-init is not installed" not in two("up", "web").stderr
    hosts = two("ssh", "web", "cat /etc/hosts").stdout
    assert re.findall(r"^([\d.]+) (\w+) # vmctl$", hosts, re.MULTILINE)[0][1] == "cache"
    assert len(hosts.splitlines()) == len(set(hosts.splitlines()))
