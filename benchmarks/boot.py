"""How long `vmctl up` takes until a Debian guest is ready and provisioned, against the same QEMU started by hand; one and two
guests at a time; and how much longer `vmctl stop` takes than the guest itself. Medians of pairs run in turn.

PAIRS=1 in the environment for a quick look.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PAIRS = int(os.environ.get("PAIRS", "3"))
BUILDER = Path(__file__).parents[1] / "tests" / "guest" / "build-debian"
VMCTL = str(Path(sys.executable).with_name("vmctl"))
VMFILE = """\
vm "{name}" {{
    image "{image}"
    cloud-init {{}}
    provision "shell" {{ inline "true"; }}
}}
"""
LIMIT_S = 900


def main() -> None:
    """Print the ratios, and what they are to stay below."""
    image = Path(subprocess.run([str(BUILDER)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        alone = [pair(base, image, ("one",)) for _ in range(PAIRS)]
        both = [pair(base, image, ("one", "two")) for _ in range(PAIRS)]
    show("`vmctl up` of a VM / by hand", [it.up_s / it.hand_s for it in alone], "1.05")
    show("`vmctl up` of two VMs / by hand", [it.up_s / it.hand_s for it in both], "1.08")
    show("`vmctl stop`, beyond the guest's own shutdown, in s", [it.stop_s - it.shutdown_s for it in alone], "0.20")


def show(what: str, figures: list[float], budget: str) -> None:
    """A line of the table."""
    print(f"{what:<52} {statistics.median(figures):5.2f}  (budget {budget})")  # noqa: T201


@dataclass(frozen=True)
class Times:
    """One pair: by vmctl and by hand, in seconds."""

    up_s: float
    hand_s: float
    stop_s: float
    shutdown_s: float


def pair(base: Path, image: Path, names: tuple[str, ...]) -> Times:
    """The same guests by vmctl, and then by hand."""
    (base / "VMFile.kdl").write_text("".join(VMFILE.format(name=name, image=image) for name in names))
    started = time.monotonic()
    vmctl(base, "up")
    up_s = time.monotonic() - started
    homes = [base / "vmctl" / "vms" / name for name in names]
    kept = [Path(shutil.copytree(home, base / f"by-hand-{home.name}", ignore=kept_out)) for home in homes]
    started = time.monotonic()
    vmctl(base, "stop", *names, "--timeout", "120")
    stop_s = time.monotonic() - started
    vmctl(base, "down", "--destroy")
    try:
        hand_s, shutdown_s = by_hand(kept, image)
    finally:
        for directory in kept:
            shutil.rmtree(directory)
    return Times(up_s, hand_s, stop_s, shutdown_s)


def kept_out(directory: str, names: list[str]) -> list[str]:
    """What of a VM's directory is not for a second QEMU."""
    return [name for name in names if name.endswith(".sock") or name in ("pid", "overlay.qcow2")]


def by_hand(homes: list[Path], image: Path) -> tuple[float, float]:
    """What somebody would type: overlay, QEMU, a loop around ssh, cloud-init's own wait, the step. And the shutdown."""
    started = time.monotonic()
    machines = [Machine(home, image) for home in homes]
    for machine in machines:
        machine.until_provisioned()
    ready_s = time.monotonic() - started
    started = time.monotonic()
    for machine in machines:
        machine.press_power_button()
    for machine in machines:
        machine.qemu.wait(LIMIT_S)
    return ready_s, time.monotonic() - started


class Machine:
    """A QEMU that was started by hand, with vmctl's own command line."""

    def __init__(self, home: Path, image: Path) -> None:
        self.home = home
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", "overlay.qcow2"]
        subprocess.run(overlay, cwd=home, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = json.loads((home / "vm.json").read_text())["backend_data"]["argv"]
        argv = [re.sub(r"hostfwd=tcp:127\.0\.0\.1:\d+", f"hostfwd=tcp:127.0.0.1:{self.port}", word) for word in argv]
        self.qemu = subprocess.Popen(argv, cwd=home, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ssh(self, command: str) -> int:
        """Run a command in the guest."""
        argv = [
            "ssh", "-q", "-F", "none", "-i", str(self.home / "id_ed25519_generated"), "-p", str(self.port),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=1",
            "vm@127.0.0.1", command,
        ]  # fmt: skip
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    def until_provisioned(self) -> None:
        """Wait as a script would, and run the step."""
        while self.ssh("true") != 0:
            time.sleep(0.1)
        self.ssh("cloud-init status --wait")
        self.ssh("true")

    def press_power_button(self) -> None:
        """Over QMP, as vmctl does."""
        here = os.getcwd()
        os.chdir(self.home)  # a socket's path may have 108 bytes
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect("qmp.sock")
            os.chdir(here)
            answers = monitor.makefile("rb")
            answers.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
                answers.readline()


def vmctl(base: Path, *args: str) -> None:
    """Run vmctl on the data directory below `base`."""
    subprocess.run([VMCTL, "-q", *args], cwd=base, env={**os.environ, "XDG_DATA_HOME": str(base)}, check=True)


if __name__ == "__main__":
    main()
