"""How long the quick commands take, as ratios to an empty Typer app: median of pairs run in turn.

Python keeps its bytecode, as pip leaves what it installs: an editable installation under PYTHONDONTWRITEBYTECODE would be
compiled at each start.
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

PAIRS = 15
EMPTY_APP = """
import typer
app = typer.Typer()
@app.command()
def one() -> None: ...
@app.command()
def two() -> None: ...
app()
"""
VMFILE_BLOCK = 'vm "vm-{number}" {{\n    image "disk"\n}}\n'


def main() -> None:
    """Print a line per command: its median ratio, and what it is to stay below."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        empty = base / "empty.py"
        empty.write_text(EMPTY_APP)
        few, many = project(base / "few", 10), project(base / "many", 1000)
        python, vmctl = sys.executable, str(Path(sys.executable).with_name("vmctl"))
        rows = [
            ("vmctl list, 10 stopped VMs / empty app", [vmctl, "list"], few, [python, str(empty), "one"], few, 2.0),
            ("vmctl --help / empty app --help", [vmctl, "--help"], few, [python, str(empty), "--help"], few, 2.0),
            ("vmctl list, 1,000 VMs / 10 VMs", [vmctl, "list"], many, [vmctl, "list"], few, 4.0),
        ]
        for title, left, left_data, right, right_data, budget in rows:
            seconds(left, left_data)  # writes the bytecode
            seconds(right, right_data)
            ratios = [seconds(left, left_data) / seconds(right, right_data) for _ in range(PAIRS)]
            print(f"{title:<45} {statistics.median(ratios):5.2f}  (budget {budget})")  # noqa: T201


def project(directory: Path, count: int) -> Path:
    """A data directory with that many VMs, created by the noop backend."""
    directory.mkdir()
    (directory / "disk").touch()
    for start in range(0, count, 100):
        numbers = range(start, min(start + 100, count))
        (directory / "VMFile.kdl").write_text("".join(VMFILE_BLOCK.format(number=number) for number in numbers))
        vmctl = str(Path(sys.executable).with_name("vmctl"))
        for verb in ("up", "down"):
            subprocess.run(
                [vmctl, "-q", "--backend", "noop", verb], cwd=directory, env=environment(directory), check=True
            )
    return directory


def environment(directory: Path) -> dict[str, str]:
    """Ours, with a data directory of its own, and with bytecode that is kept beside it."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "XDG_DATA_HOME": str(directory), "PYTHONPYCACHEPREFIX": str(directory.parent / "bytecode")}


def seconds(argv: Sequence[str], directory: Path) -> float:
    """The wall time of a command."""
    started = time.perf_counter()
    subprocess.run(argv, cwd=directory, env=environment(directory), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
