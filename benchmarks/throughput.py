"""How fast bytes go into a guest, from guest to guest and out of a shared directory, against QEMU by hand: medians of pairs.

By hand, two guests are joined by QEMU's own `dgram` sockets, without a switch between them, and virtiofsd runs as it comes. The
guest is the tests' tiny one.
PAIRS=1 in the environment for a quick look.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from vm_manager.backends.qemu.share_keeper import SERVED, server_argv
from vm_manager.backends.qemu.shares import find_server
from vm_manager.backends.qemu.sockets import share_socket, socket_path

PAIRS = int(os.environ.get("PAIRS", "3"))
SIZE_MIB = 128
BUILDER = Path(__file__).parents[1] / "tests" / "guest" / "build-tiny"
VMCTL = str(Path(sys.executable).with_name("vmctl"))
VM = """\
vm "{name}" {{
    image "{image}"
    memory 256
    network "user" {{ forward host={ssh} guest=22; forward host={data} guest=5001; }}
    network "private" name="lan" address="10.200.0.{number}/24"
    ssh {{ user "root"; private-key "{key}"; }}
    mount "shared" "/mnt/shared" read-only=#true
}}
"""
NAMES = ("web", "db")
BOOT_LIMIT_S = 120.0


def main() -> None:
    """Print the ratios, each of the time with vmctl to that by hand."""
    image = subprocess.run([str(BUILDER)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as directory:
        base, key = Path(directory), image.replace(".qcow2", ".key")
        ports = [free_port() for _ in range(2 * len(NAMES))]
        text = [
            VM.format(name=name, image=image, key=key, ssh=ports[2 * at], data=ports[2 * at + 1], number=at + 1)
            for at, name in enumerate(NAMES)
        ]
        (base / "VMFile.kdl").write_text("".join(text))
        guests = {name: Guest(ports[2 * at], ports[2 * at + 1], key) for at, name in enumerate(NAMES)}
        (base / "shared").mkdir()
        (base / "shared" / "file").write_bytes(os.urandom(SIZE_MIB * 1024**2))
        ratios: dict[str, list[float]] = {}
        for _ in range(PAIRS):
            with by_vmctl(base):
                tag = shares(base, "web")[0].tag
                ours = measured(guests, tag)
            with by_hand(base):
                theirs = measured(guests, tag)
            for what, seconds in ours.items():
                ratios.setdefault(what, []).append(seconds / theirs[what])
        vmctl(base, "down", "--destroy", "--timeout", "0")
    for what, found in ratios.items():
        spread = f"{min(found):.2f} to {max(found):.2f}"
        print(f"{f'{SIZE_MIB} MiB {what} / QEMU by hand':<62} {statistics.median(found):5.2f}  ({spread})")  # noqa: T201


class Guest:
    """How a guest is reached: the host's ports that lead to its sshd and to its port 5001, and root's key."""

    def __init__(self, ssh: int, data: int, key: str) -> None:
        self.data = data
        self._ssh = [
            "ssh", "-F", "none", "-q", "-i", key, "-p", str(ssh), "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=3", "root@127.0.0.1",
        ]  # fmt: skip

    def run(self, command: str) -> None:
        """Run a command in the guest and wait for it."""
        subprocess.run([*self._ssh, command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    def await_boot(self, number: int) -> None:
        """Wait for its sshd, and give it its address on the private network."""
        ends = time.monotonic() + BOOT_LIMIT_S
        address = f"ifconfig eth1 10.200.0.{number} netmask 255.255.255.0"
        while subprocess.run([*self._ssh, address], stdin=subprocess.DEVNULL, check=False).returncode != 0:
            assert time.monotonic() < ends, "the guest does not boot"
            time.sleep(0.5)

    def mount(self, tag: str) -> None:
        """Mount the shared directory, unless that is done."""
        self.run(
            f"grep -q ' /mnt/shared ' /proc/mounts || (mkdir -p /mnt/shared && mount -t virtiofs {tag} /mnt/shared)"
        )

    def listen(self) -> None:
        """Let something swallow what comes at port 5001, once."""
        self.run("nc -l -p 5001 >/dev/null </dev/null & until netstat -ltn | grep -q :5001; do sleep 0.1; done")


def measured(guests: dict[str, Guest], tag: str) -> dict[str, float]:
    """The seconds that each way takes. tag: of the shared directory."""
    for number, guest in enumerate(guests.values(), 1):
        guest.await_boot(number)
    web, db = guests.values()
    web.mount(tag)
    begun = time.monotonic()
    web.run("dd if=/mnt/shared/file of=/dev/null bs=1M 2>/dev/null")
    read_s = time.monotonic() - begun
    return {
        "read from a shared directory": read_s,
        "into a guest through a forward": timed(web, lambda: send(web.data)),
        "between guests on a private network": timed(
            db, lambda: web.run(f"dd if=/dev/zero bs=1M count={SIZE_MIB} 2>/dev/null | nc 10.200.0.2 5001")
        ),
    }


def timed(listener: Guest, transfer: Callable[[], None]) -> float:
    """The seconds that a transfer to a guest takes."""
    listener.listen()
    begun = time.monotonic()
    transfer()
    return time.monotonic() - begun


def send(port: int) -> None:
    """Send to a port of this host, until whoever listens has read it all."""
    chunk = bytes(1024**2)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(SIZE_MIB):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


@contextmanager
def by_vmctl(base: Path) -> Iterator[None]:
    """While it lasts both VMs run."""
    try:
        vmctl(base, "up")
        yield
    finally:
        vmctl(base, "down", "--timeout", "0")


@contextmanager
def by_hand(base: Path) -> Iterator[None]:
    """While it lasts the QEMUs of both VMs run, with the same options, and joined to each other."""
    with ExitStack() as running:
        for number, name in enumerate(NAMES):
            home = base / "vmctl" / "vms" / name
            argv = recorded(base, name)
            for share in shares(base, name):
                (home / share.socket).unlink(missing_ok=True)
                listening = running.enter_context(socket.socket(socket.AF_UNIX))
                with socket_path(home, share.socket) as path:
                    listening.bind(path)
                listening.listen(1)
                serve = [word.replace(SERVED, str(base / "shared")) for word in server(listening.fileno())]
                running.callback(end, subprocess.Popen(serve, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL))
            ends = [f"unix,{{}}.path=/{base}/hand{end}" for end in (number, 1 - number)]
            joined = f"dgram,id=net1,local.type={ends[0].format('local')},remote.type={ends[1].format('remote')}"
            argv = [joined if re.match("dgram,", word) else word for word in argv]
            process = subprocess.Popen(argv, cwd=home, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(end, process)
        yield


class Share(NamedTuple):
    """A shared directory, by its tag in the guest, and its virtiofsd's socket."""

    tag: str
    socket: str


def recorded(base: Path, name: str) -> list[str]:
    """The command line of a VM's QEMU."""
    argv: list[str] = json.loads((base / "vmctl" / "vms" / name / "vm.json").read_text())["backend_data"]["argv"]
    return argv


def shares(base: Path, name: str) -> list[Share]:
    """The directories that a VM shares."""
    devices = re.findall(r"vhost-user-fs-pci,\S*tag=(\S+)", "\n".join(recorded(base, name)))
    return [Share(tag, share_socket(tag)) for tag in devices]


def server(listening: int) -> Sequence[str]:
    """The command line of this host's virtiofsd."""
    found = find_server()
    assert found is not None, "this host has no virtiofsd"
    return server_argv(found.program, old=found.old, socket=listening)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a QEMU."""
    process.kill()
    process.wait()


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def vmctl(base: Path, *args: str) -> None:
    """Run a command with a data directory of its own."""
    argv: Sequence[str] = [VMCTL, "-q", *args]
    environment = {**os.environ, "XDG_DATA_HOME": str(base)}
    subprocess.run(argv, cwd=base, env=environment, check=True)


if __name__ == "__main__":
    main()
