"""What the sandbox costs: `vmctl up` with it and on a kernel that has no Landlock, as ratios: medians of pairs run in turn.

PAIRS=1 in the environment for a quick look.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PAIRS = int(os.environ.get("PAIRS", "3"))
STARTS = 5 * PAIRS
TESTS = Path(__file__).parents[1] / "tests"
VMCTL = str(Path(sys.executable).with_name("vmctl"))
WITHOUT = [sys.executable, str(TESTS / "without_landlock.py")]
BLANK = 'vm "blank" {{\n    image "{image}"\n    memory 64\n    network "none"\n}}\n'
DEBIAN = 'vm "web" {{\n    image "{image}"\n    vcpus 2\n    cloud-init {{}}\n}}\n'
BUDGET = 1.02


def main() -> None:
    """Print the ratios, and what they are to stay below."""
    image = subprocess.run(
        [str(TESTS / "guest" / "build-debian")], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        blank = base / "blank.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(blank), "16M"], check=True)
        show("`vmctl up` until QEMU runs, with the sandbox / without", base, BLANK.format(image=blank), STARTS)
        show("`vmctl up` until Debian is ready, with / without", base, DEBIAN.format(image=image.strip()), PAIRS)


def show(what: str, base: Path, vmfile: str, pairs: int) -> None:
    """A line of the table."""
    (base / "VMFile.kdl").write_text(vmfile)
    up(base, [])  # what is done once: the accelerator's verdict, bytecode
    ratios = []
    for number in range(pairs):
        # In turn, and first this one, then that: a machine that gets slower must not count for one side.
        order = ([], WITHOUT) if number % 2 else (WITHOUT, [])
        times = {bool(prefix): up(base, prefix) for prefix in order}
        ratios.append(times[False] / times[True])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{what:<55} {statistics.median(ratios):5.2f}  ({spread}; budget {BUDGET})")  # noqa: T201


def up(base: Path, prefix: Sequence[str]) -> float:
    """The wall time of `vmctl up`, in seconds, on VMs that do not exist yet."""
    environment = {**os.environ, "XDG_DATA_HOME": str(base / "data")}
    started = time.perf_counter()
    subprocess.run([*prefix, VMCTL, "-q", "up"], cwd=base, env=environment, stderr=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - started
    subprocess.run([VMCTL, "-q", "down", "--destroy", "--timeout", "0"], cwd=base, env=environment, check=True)
    return seconds


if __name__ == "__main__":
    main()
