"""A network of the tests' own: a namespace with a bridge, and a DHCP server on it. Nobody outside sees any of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE, HOST = "br0", "10.77.0.1"
_STARTS_S = 60


@dataclass
class Bridged:
    """enter: the prefix of a command that runs in the namespace. leases: the server's file, as dnsmasq writes it."""

    enter: tuple[str, ...]
    directory: Path
    leases: Path = field(init=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.leases = self.directory / "dnsmasq.leases"

    def run(self, *argv: str) -> str:
        """What a command in the namespace says."""
        return subprocess.run([*self.enter, *argv], check=True, capture_output=True, text=True).stdout

    def cards(self) -> set[str]:
        """The devices on bridges."""
        return {it["ifname"] for it in json.loads(self.run("ip", "-j", "link")) if "master" in it}

    def give(self, addresses: Mapping[str, str]) -> None:
        """Let the server give these addresses to these cards, and none to others; it is started if need be."""
        hosts = self.directory / "hosts"
        hosts.write_text("".join(f"{mac},{address}\n" for mac, address in addresses.items()))
        if self._server is not None:
            self._server.send_signal(signal.SIGHUP)
            return
        dnsmasq = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert dnsmasq is not None, "tests/guest/host-packages installs it"
        log = self.directory / "dnsmasq.log"
        self._server = subprocess.Popen([
            *self.enter, dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0",
            f"--interface={BRIDGE}", "--bind-interfaces", "--dhcp-authoritative", "--no-ping",
            "--dhcp-range=10.77.0.0,static,1h", f"--dhcp-hostsfile={hosts}", f"--dhcp-leasefile={self.leases}",
            "--pid-file=", f"--log-facility={log}",
        ], cwd="/")  # fmt: skip
        ends = time.monotonic() + _STARTS_S
        while "DHCP, static leases only" not in (log.read_text() if log.exists() else ""):
            assert self._server.poll() is None, "dnsmasq has ended"
            assert time.monotonic() < ends, "dnsmasq did not start"
            time.sleep(0.05)

    def withdraw(self) -> None:
        """End the server, and forget what it has given and who has been seen."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(_STARTS_S)
            self._server = None
        self.leases.unlink(missing_ok=True)
        self.run("ip", "neigh", "flush", "dev", BRIDGE)


@contextmanager
def bridged(directory: Path) -> Iterator[Bridged]:
    """The network, as long as the block lasts."""
    directory.mkdir()
    # It lives as long as this process, and leaves no name anywhere.
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], cwd="/")
    network = Bridged(("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"), directory)
    own = Path("/proc/self/ns/net").readlink()
    try:
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == own:
            time.sleep(0.01)
        for line in (
            "link set lo up", f"link add {BRIDGE} type bridge", f"addr add {HOST}/24 dev {BRIDGE}", f"link set {BRIDGE} up",
        ):  # fmt: skip
            network.run("ip", *line.split())
        yield network
    finally:
        if network._server is not None:
            network.withdraw()
        holder.kill()
        holder.wait()
