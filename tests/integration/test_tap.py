"""Guests on a bridge: each is found at its own address, whatever becomes of that, and leaves no device behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridged import BRIDGE, HOST, Bridged, bridged
from conftest import TinyGuest
from driver import BLANK, Result, Vmctl, as_user, blank_disk, ended, listening, wait_for
from proofs import prove

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces and bridges")

_NOBODY = 65534
_HELPER = Path("/usr/lib/qemu/qemu-bridge-helper")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Bridged]:
    """A bridge in a namespace of its own, without a DHCP server."""
    with bridged(tmp_path / "network") as found:
        yield found


@pytest.fixture
def there(vmctl: Vmctl, network: Bridged) -> Vmctl:
    """An empty project; vmctl runs in that namespace."""
    return replace(vmctl, prefix=network.enter, env={"VMCTL_LEASES": str(network.leases)})


def _mac(vmctl: Vmctl, name: str) -> str:
    (card,) = vmctl("status", name, "--json").json["vm"]["networks"]
    assert (card["mode"], card["bridge"]) == ("tap", BRIDGE)
    return str(card["mac"])


def _ssh_host(vmctl: Vmctl, name: str) -> str | None:
    ssh = vmctl("status", name, "--json").json["vm"]["ssh"]
    return ssh and str(ssh["host"])


def _own_address(vmctl: Vmctl, name: str) -> str:
    return vmctl("ssh", name, "ip -4 -o addr show dev eth0").stdout.split()[3].partition("/")[0]


def test_guests_on_a_bridge_are_found_at_their_own_addresses(there: Vmctl, tiny: TinyGuest, network: Bridged) -> None:
    there.write(tiny.vm("web", 'network "tap"') + tiny.vm("db", 'network "tap" { bridge "br0"; }'))
    there("up", "--wait", "none")
    web, db = (_mac(there, name) for name in ("web", "db"))
    assert web.startswith("52:54:00:")
    assert db.startswith("52:54:00:")
    assert web != db
    network.give({web: "10.77.0.20", db: "10.77.0.30"})
    up = there("up")
    assert "no address yet" in up.stdout + up.stderr
    for name, address in (("web", "10.77.0.20"), ("db", "10.77.0.30")):
        assert _ssh_host(there, name) == _own_address(there, name) == address
        assert f"SSH:          root@{address}:22" in there("status", name).stdout
        # QEMU listens nowhere, and the device is gone with whoever holds it: QEMU alone.
        assert listening(there("status", name, "--json").json["vm"]["pid"]) == []
    assert [line.split()[-1] for line in there("list").stdout.splitlines()[1:]] == ["10.77.0.30:22", "10.77.0.20:22"]
    assert there("port", "web").stdout == ""
    assert len(network.cards()) == 2

    # Forwarded by SSH, since no port of this host leads to it.
    there("ssh", "db", "mkdir -p /www; echo from db >/www/file; httpd -h /www")
    command = there.start("forward", "db", "18080:80")
    try:

        def fetched() -> bool:
            page = ["curl", "-s", "http://127.0.0.1:18080/file"]
            return subprocess.run([*network.enter, *page], capture_output=True, check=False).stdout == b"from db\n"

        wait_for(fetched, "the forward")
    finally:
        command.terminate()
        ended(command)

    # Another address after a restart; the other one's old address is now web's.
    network.give({web: "10.77.0.30", db: "10.77.0.40"})
    there("restart", "--timeout", "0", "db", "web")
    for name, address in (("web", "10.77.0.30"), ("db", "10.77.0.40")):
        assert _ssh_host(there, name) == _own_address(there, name) == address

    # A saved state is loaded with a device of its own; another data directory gets one, too.
    there("suspend", "--to-disk", "db")
    assert len(network.cards()) == 1
    there("resume", "db")
    assert _own_address(there, "db") == "10.77.0.40"
    (there.data.parent / "other" / "vmctl").mkdir(parents=True, mode=0o700)
    there("migrate", "db", "--to", str(there.data.parent / "other" / "vmctl"))
    moved = replace(there, data=there.data.parent / "other")
    try:
        assert _own_address(moved, "db") == "10.77.0.40"
        assert len(network.cards()) == 2
    finally:
        moved("destroy", "db")
    os.kill(there("status", "web", "--json").json["vm"]["pid"], signal.SIGKILL)
    wait_for(lambda: network.cards() == set(), "the device to vanish with QEMU")


def test_a_guest_without_a_lease_is_said_to_have_no_address_and_where_that_was_looked_for(
    there: Vmctl, tiny: TinyGuest, network: Bridged
) -> None:
    there.write(tiny.vm(body='network "tap"\nboot-timeout 20'))
    there("up", "--wait", "none")
    wait_for(lambda: "tiny: ready" in there("log", "tiny", "--console").stdout, "the guest to boot")
    result = there("up", status=None)
    mac = _mac(there, "tiny")
    prove(result, "vm_manager::network::ip_discovery_timeout", evidence="that the kernel knows for " + mac)
    assert "leases: none on this host: no DHCP server has written any here for" in result.stderr
    assert f"leases: {network.leases} cannot be read: No such file or directory" in result.stderr
    assert "guest agent: none is running in the guest" in result.stderr
    assert "`vmctl console tiny`" in result.stderr
    asked = there("ssh", "tiny", "true", status=None)
    assert (asked.code, asked.status) == ("vm_manager::network::ip_discovery_timeout", 10)
    # Somebody else's lease, and an address that somebody else has, are not its own.
    network.leases.write_text(f"0 52:54:00:99:99:99 10.77.0.66 * *\n0 {mac} {HOST} * *\n0 {mac} 10.77.0.77 * *\n")
    network.run("ip", "neigh", "add", "10.77.0.77", "lladdr", "52:54:00:99:99:99", "dev", BRIDGE)
    assert _ssh_host(there, "tiny") is None
    refused = there("ssh", "tiny", "true", status=None).stderr
    assert "10.77.0.77 is not used: 52:54:00:99:99:99 has it" in refused
    assert f"{HOST} is not used: this host has it" in refused
    # What the kernel has not confirmed lately is not believed either, but it is made to look again: nobody has it any more.
    network.run("ip", "neigh", "replace", "10.77.0.77", "lladdr", "52:54:00:99:99:99", "dev", BRIDGE, "nud", "stale")
    assert _ssh_host(there, "tiny") is None
    wait_for(lambda: "FAILED" in network.run("ip", "neigh", "show", "10.77.0.77"), "the kernel to look again")
    assert _ssh_host(there, "tiny") == "10.77.0.77"


# What is told before anything is made


@pytest.fixture
def closed(there: Vmctl) -> Vmctl:
    """A project with one VM whose disk is empty, on the bridge."""
    blank_disk(there.directory)
    there.write(BLANK.replace("memory 64", f'memory 64\n    network "tap" bridge="{BRIDGE}"'))
    return there


def _nothing_made(vmctl: Vmctl, network: Bridged, result: Result) -> None:
    assert result.status == 6
    assert f'network "tap" bridge="{BRIDGE}"' in result.stderr
    assert vmctl("list", "--quiet").stdout == ""
    assert network.cards() == set()


def test_a_missing_bridge_is_told_with_those_that_there_are(closed: Vmctl, network: Bridged) -> None:
    network.run("ip", "link", "set", BRIDGE, "name", "lan0")
    result = closed("up", status=None)
    prove(result, "vm_manager::network::bridge_missing", evidence="| lan0")
    assert "the bridge br0 does not exist" in result.stderr
    assert "use a bridge that exists: `lan0`" in result.stderr
    _nothing_made(closed, network, result)
    for command in ("validate", "plan"):
        warned = closed(command)
        assert "warning[vm_manager::network::bridge_missing]" in warned.stderr
        assert "no problems" not in warned.stdout
    (advice,) = (it for it in result.stderr.split("`") if it.startswith("ip link add"))
    network.run("sh", "-c", advice)
    assert "no problems" in closed("validate").stdout
    closed("up")
    assert len(network.cards()) == 1
    closed("down", "--timeout", "0")
    assert network.cards() == set()


def test_an_interface_that_is_no_bridge_is_none(closed: Vmctl, network: Bridged) -> None:
    network.run("ip", "link", "set", BRIDGE, "name", "lan0")
    network.run("ip", "tuntap", "add", BRIDGE, "mode", "tap")
    result = closed("up", status=None)
    assert "br0 is a network interface, but not a bridge" in result.stderr
    _nothing_made(closed, network, result)


def test_a_vm_from_options_is_on_a_bridge_and_can_be_ended_in_any_way(closed: Vmctl, network: Bridged) -> None:
    closed("create", "--name", "made", "--image", "blank.qcow2", "--memory", "32", "--bridge", BRIDGE, "--accel", "tcg")
    for _ in range(2):
        closed("start", "made", status=None)  # its disk is empty
        (card,) = json.loads(network.run("ip", "-j", "link", "show", "master", BRIDGE))
        assert card["ifname"].startswith("vmctl-")
        assert "UP" in card["flags"]
        os.kill(closed("status", "made", "--json").json["vm"]["pid"], signal.SIGKILL)
        wait_for(lambda: network.cards() == set(), "the device to vanish with QEMU")
    closed("destroy", "made")


_OPENS = """
import os, socket
from vm_manager.backends.qemu.tap import open_taps
from vm_manager.diagnostics.errors import BridgeMissing

def held():
    return set(os.listdir("/proc/self/fd")), {name for _, name in socket.if_nameindex()}

before = held()
with open_taps({0: "br0", 2: "br0"}) as taps:
    assert len(set(taps.values())) == 2 and not any(map(os.get_inheritable, taps.values()))
    assert len(held()[1] - before[1]) == 2
assert held() == before
try:
    with open_taps({0: "br0", 1: "nowhere"}):
        raise SystemExit("there is no such bridge")
except BridgeMissing:
    assert held() == before
"""


def test_no_device_stays_open_in_vmctl_also_when_a_later_one_cannot_be_made(network: Bridged) -> None:
    network.run(sys.executable, "-c", _OPENS)


_LISTS = """
from vm_manager.host.netlink import bridges, neighbours

assert set(bridges()) == {"br0"}, bridges()
for it in sorted(neighbours(), key=lambda it: str(it.address)):
    print(it.address, it.mac, it.interface, it.confirmed)
"""


def test_neighbours_of_both_families_are_known_with_their_links(network: Bridged) -> None:
    for address, state in (
        ("10.77.0.9", "reachable"),
        ("fe80::9", "stale"),
        ("fd00::9", "failed"),
        ("fd00::8", "permanent"),
    ):
        network.run("ip", "neigh", "add", address, "lladdr", "52:54:00:12:34:56", "dev", BRIDGE, "nud", state)
    assert network.run(sys.executable, "-c", _LISTS).splitlines() == [
        f"10.77.0.9 52:54:00:12:34:56 {BRIDGE} True",
        f"fd00::8 52:54:00:12:34:56 {BRIDGE} True",
        f"fe80::9 52:54:00:12:34:56 {BRIDGE} False",
    ]


# Users who are not root


@pytest.fixture
def nobody(network: Bridged) -> Iterator[Vmctl]:
    """The same for a user who is not root; QEMU's helper is as its package leaves it, in a mount namespace of its own."""
    base = Path(f"/tmp/vmctl-bridge-{os.getpid()}")  # below the tests' own directories only root may go
    base.mkdir(mode=0o755)
    vmctl = Vmctl.below(base)
    vmctl.env["HOME"] = str(base)
    blank_disk(vmctl.directory)
    vmctl.write(BLANK.replace("memory 64", f'memory 64\n    network "tap" bridge="{BRIDGE}"'))
    vmctl.data.mkdir()
    subprocess.run(["chown", "-R", f"{_NOBODY}:{_NOBODY}", str(base)], check=True)
    try:
        yield vmctl
        replace(vmctl, prefix=(*network.enter, *as_user(_NOBODY))).destroy_all()
    finally:
        shutil.rmtree(base, ignore_errors=True)


# Of its own: the helper and the device for all users, as packages and systems have them, and an /etc without a list of bridges.
_MOUNTS = f"""
set -e
own=$(mktemp -d /tmp/vmctl-mounts.XXXXXX)
mount -t tmpfs -o suid,dev,mode=0755 tmpfs $own
mkdir $own/etc $own/qemu
cp {_HELPER} $own/qemu/
cp -a /etc/. $own/etc; rm -rf $own/etc/qemu
mknod -m 0666 $own/tun c 10 200
mount --bind $own/qemu {_HELPER.parent}; mount --bind $own/etc /etc; mount --bind $own/tun /dev/net/tun
umount -l $own; rmdir $own
"""


def _with_helper(vmctl: Vmctl, network: Bridged, change: str) -> Vmctl:
    """The same for a user who is not root. change: a line of a shell, by root, that sets up the helper before each command."""
    script = f'{_MOUNTS}{change}\nexec "$@"'
    return replace(
        vmctl, prefix=(*network.enter, "unshare", "--mount", "bash", "-c", script, "bash", *as_user(_NOBODY))
    )


_SETUID, _ALLOWED = f"chmod u+s {_HELPER}", f"mkdir -p /etc/qemu; echo 'allow {BRIDGE}' >>/etc/qemu/bridge.conf"
_CLOSED = "chmod 0600 /dev/net/tun"


@pytest.mark.parametrize(
    "change",
    [_SETUID, _ALLOWED, f"{_SETUID}; {_ALLOWED}; {_CLOSED}"],
    ids=["not listed", "not setuid", "closed device"],
)
def test_a_user_whom_the_helper_refuses_is_told_what_lets_him(nobody: Vmctl, network: Bridged, change: str) -> None:
    vmctl = _with_helper(nobody, network, change)
    result = vmctl("up", status=None)
    prove(result, "vm_manager::host::permission_denied", evidence="--use-vnet")
    assert "nobody may not attach a network card to the bridge br0: qemu-bridge-helper: " in result.stderr
    _nothing_made(vmctl, network, result)
    assert "warning[vm_manager::host::permission_denied]" in vmctl("validate").stderr
    # Each line of the help is followed, by root.
    advice = [it for it in result.stderr.split("`") if it.startswith(("chmod", "mkdir"))]
    assert len(advice) == 1
    _runs(_with_helper(nobody, network, f"{change}; {advice[0]}"), network)


def test_a_user_whom_the_helper_lets_has_a_vm_on_the_bridge(nobody: Vmctl, network: Bridged) -> None:
    _runs(_with_helper(nobody, network, f"{_SETUID}; {_ALLOWED}"), network)


def _runs(vmctl: Vmctl, network: Bridged) -> None:
    assert "no problems" in vmctl("validate").stdout
    vmctl("up")
    assert len(network.cards()) == 1
    os.kill(vmctl("status", "blank", "--json").json["vm"]["pid"], signal.SIGKILL)
    wait_for(lambda: network.cards() == set(), "the device to vanish with QEMU")
    vmctl("start", "blank")
    assert len(network.cards()) == 1
    vmctl("destroy", "blank")
    assert network.cards() == set()


def test_a_user_without_the_helper_is_told_the_package(nobody: Vmctl, network: Bridged) -> None:
    vmctl = _with_helper(nobody, network, f"rm {_HELPER}")
    result = vmctl("up", status=None)
    prove(result, "vm_manager::host::missing_tool", evidence="/usr/lib/qemu: not there")
    assert "qemu-system-common" in result.stderr
    _nothing_made(vmctl, network, result)
    assert "warning[vm_manager::host::missing_tool]" in vmctl("validate").stderr
