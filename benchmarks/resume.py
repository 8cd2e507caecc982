"""How long a Debian guest saved to disk takes until SSH answers, as a ratio to its cold boot: median of pairs run in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 3
BUDGET = 0.2
BUILD = Path(__file__).parents[1] / "tests" / "guest" / "build-debian"
VMFILE = """\
vm "web" {{
    image "{image}"
    vcpus 2
    memory 1024
    ssh {{ user "bench"; }}
}}
"""


def main() -> None:
    """Print the median ratio, and what it is to stay below."""
    image = subprocess.run([str(BUILD)], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "VMFile.kdl").write_text(VMFILE.format(image=image))
        try:
            vmctl(base, "up")  # its first boot does more than any later one
            ratios, seconds = [], []
            for _ in range(PAIRS):
                vmctl(base, "stop", "web", "--timeout", "120")
                cold = until_ssh(base, "start", "web")
                vmctl(base, "suspend", "--to-disk", "web")
                warm = until_ssh(base, "resume", "web")
                ratios.append(warm / cold)
                seconds.append(f"{warm:.1f}/{cold:.1f} s")
        finally:
            vmctl(base, "destroy", "web")
    title = "vmctl resume from disk / cold boot, until SSH"
    print(f"{title:<45} {statistics.median(ratios):5.2f}  (budget {BUDGET})  {', '.join(seconds)}")  # noqa: T201


def until_ssh(base: Path, *args: str) -> float:
    """The wall time of a command and of the first one in the guest behind it."""
    started = time.perf_counter()
    vmctl(base, *args)
    vmctl(base, "ssh", "web", "--", "true")
    return time.perf_counter() - started


def vmctl(base: Path, *args: str) -> None:
    """Run a command with a data directory of its own."""
    program = str(Path(sys.executable).with_name("vmctl"))
    environment = {**os.environ, "XDG_DATA_HOME": str(base / "data")}
    subprocess.run(
        [program, "-q", *args],
        cwd=base,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


if __name__ == "__main__":
    main()
