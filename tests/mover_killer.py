"""Runs `vmctl migrate` again and again, killed one state-changing call later each time; see `killer`.

The VM goes to and fro: wherever it is afterwards, the next move begins there. Takes the two data homes; prints the result as
JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from driver import qemu_processes
from killer import import_once, install_hook, run


def main() -> None:
    """Kill a move at every place."""
    import_once()
    for module in ("app.migrate", "cli.migrate", "backends.qemu.move"):
        import_module(f"vm_manager.{module}")
    here, there = (Path(word) for word in sys.argv[1:])
    below = Path(os.path.commonpath((here, there)))
    log, place, arrived = below / "log", 1, 0
    wrong: list[str] = []
    while (ended := _run(here, ("migrate", "blank", "--to", str(there / "vmctl")), log, _killed(below, place))) != 0:
        if ended != -signal.SIGKILL:
            wrong.append(f"place {place}: ended with {ended}: {log.read_text()}")
            break
        # Whichever of the two is asked first.
        for data in (here, there) if place % 2 else (there, here):
            _run(data, ("resume", "blank"), log)
        wrong += [f"place {place}: {problem}" for problem in _look(here, there, log)]
        if _states(there, log):
            arrived, here, there = arrived + 1, there, here
        place += 1
    sys.stdout.write(json.dumps({"places": place, "arrived": arrived, "wrong": wrong}))


def _killed(below: Path, place: int) -> Callable[[], None]:
    return partial(install_hook, below, place)


def _run(data: Path, argv: tuple[str, ...], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    os.environ["XDG_DATA_HOME"] = str(data)
    return run(argv, log, prepare)


def _states(data: Path, log: Path) -> dict[str, str]:
    _run(data, ("list", "--json"), log)
    return {vm["name"]: vm["state"] for vm in json.loads(log.read_text())["vms"]}


def _look(here: Path, there: Path, log: Path) -> list[str]:
    """What is not as it must be: the VM runs, on one side, and nothing is left of the move."""
    found, wrong = [], []
    for data in (here, there):
        states = _states(data, log)
        found.append(states)
        if len(qemu_processes(data)) != len(states):
            wrong.append(f"{states} in {data}, and QEMUs {qemu_processes(data)}")
        rests = [path for path in data.rglob("*") if path.name.startswith((".", "moving-to", "moved-from"))]
        wrong += [f"left behind: {path}" for path in rests if path.is_relative_to(data / "vmctl" / "vms")]
    if sorted(map(len, found)) != [0, 1] or {**found[0], **found[1]} != {"blank": "running"}:
        wrong.append(f"here {found[0]}, there {found[1]}")
    return wrong


if __name__ == "__main__":
    main()
