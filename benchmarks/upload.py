"""How long a file of 64 MiB takes into a Debian guest, by `vmctl provision` and by scp: median of pairs run in turn."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 3
SIZE_BYTES = 64 * 1024**2
BUILDER = Path(__file__).parents[1] / "tests" / "guest" / "build-debian"
VMCTL = str(Path(sys.executable).with_name("vmctl"))
VMFILE = """\
vm "bench" {{
    image "{image}"
    vcpus 2
    cloud-init {{}}
    provision "file" {{ source "big"; destination "/home/vm/big"; }}
}}
"""


def main() -> None:
    """Print the ratio, and what it is to stay below."""
    image = subprocess.run([str(BUILDER)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "big").write_bytes(os.urandom(SIZE_BYTES))
        (base / "VMFile.kdl").write_text(VMFILE.format(image=image))
        vmctl(base, "up", "--no-provision")
        try:
            ratios = [seconds(base, VMCTL, "-q", "provision") / seconds(base, *scp(base)) for _ in range(PAIRS)]
        finally:
            vmctl(base, "down", "--destroy")
    print(f"{'a file of 64 MiB / scp':<45} {statistics.median(ratios):5.2f}  (budget 1.3)")  # noqa: T201


def scp(base: Path) -> list[str]:
    """scp(1) to the same guest, with the same key and the same pinned host key."""
    port = json.loads(vmctl(base, "status", "bench", "--json"))["vm"]["ssh"]["port"]
    home = base / "vmctl" / "vms" / "bench"
    return [
        "scp", "-q", "-F", "none", "-i", str(home / "id_ed25519_generated"), "-P", str(port),
        "-o", "HostKeyAlias=bench", "-o", f"UserKnownHostsFile={home / 'known_hosts'}",
        "big", "vm@127.0.0.1:/home/vm/big-scp",
    ]  # fmt: skip


def vmctl(base: Path, *args: str) -> str:
    """What a command prints."""
    argv = [VMCTL, "-q", *args]
    return subprocess.run(argv, cwd=base, env=environment(base), stdout=subprocess.PIPE, text=True, check=True).stdout


def seconds(base: Path, *argv: str) -> float:
    """How long a process takes."""
    begun = time.monotonic()
    subprocess.run(argv, cwd=base, env=environment(base), stdin=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def environment(base: Path) -> dict[str, str]:
    """A data directory of its own."""
    return {**os.environ, "XDG_DATA_HOME": str(base)}


if __name__ == "__main__":
    main()
