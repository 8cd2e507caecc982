"""Runs a vmctl command again and again, killed one state-changing call later each time, and looks at what that leaves behind.

Python announces such calls to audit hooks (PEP 578) just before they are made, so nothing of vmctl is changed for this: the hook
counts them and sends SIGKILL to its own process before the n-th. A call counts only where something has changed since the one
before: to be killed in the same situation again would show nothing new. A fork per run saves the imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from driver import qemu_processes

_CALLS = {
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
    *("subprocess.Popen", "socket.connect", "ctypes.dlsym", "fcntl.flock"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Opened for writing because locks need that; nothing is written.
_LOOKED_AT = ("pid",)


@dataclass(frozen=True)
class Scenario:
    """What is killed, from which state, and what must be true when the same command has run again.

    before: commands that lead there. command: is killed, and run again. running: how many QEMUs there are in the end.
    back: commands that lead there again from the end, which takes less than to begin anew; None: begin anew each time.
    vms: the names there are in the end, with their states. statuses: how the second run may end: what was complete already need
    not be a success.
    """

    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    again: tuple[str, ...]
    vms: dict[str, str]
    running: int
    statuses: tuple[int, ...] = (0,)
    back: tuple[tuple[str, ...], ...] | None = None


def install_hook(data: Path, kill_at: int) -> None:
    """Kill this process just before its `kill_at`-th state-changing call, of those in different situations."""
    count, outside, last, looking = 0, 0, "", False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count, outside, last, looking
        if looking or not _changes(event, args, str(data)):
            return
        looking = True
        try:
            now = f"{outside} {_situation(data)}"
        finally:
            looking = False
        count += now != last
        last = now
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        # What it leads to is in no file: a process, and what QEMU is told.
        outside += event == "subprocess.Popen" or (event == "socket.connect" and "qmp.sock" in str(args[1]))

    sys.addaudithook(hook)


def _situation(data: Path) -> str:
    """What there is in all files, as far as their names, sizes and times tell it."""
    digest = hashlib.sha256()
    for directory, _, files in sorted(os.walk(data)):
        digest.update(directory.encode())
        for name in sorted(files):
            try:
                status = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue
            # A lock is written to for those only who find it held.
            changed = 0 if name.endswith(".lock") else status.st_mtime_ns
            digest.update(f"{name} {status.st_ino} {status.st_mode} {status.st_size} {changed}".encode())
    return digest.hexdigest()


def _changes(event: str, args: tuple[Any, ...], data: str) -> bool:
    if event == "open":
        path, _, flags = args
        name = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        return bool(flags & _WRITING) and name.startswith(data) and os.path.basename(name) not in _LOOKED_AT
    return event in _CALLS


def run(argv: Sequence[str], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run a command line in a fork; its exit status, negative for a signal. Its output goes to `log`."""
    child = os.fork()
    if child == 0:
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            prepare()
            from vm_manager.cli.main import main

            main(list(argv))
        except SystemExit as ended:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_once() -> None:
    """Import what commands need here, so that no fork has to."""
    for module in (
        "cli.main",
        "cli.lifecycle",
        "cli.up",
        "app.options",
        "app.up",
        "app.lifecycle",
        "app.snapshots",
        "cli.snapshot",
        "ui.display",
    ):
        import_module(f"vm_manager.{module}")
    for module in ("launch", "shutdown", "query", "disks", "saved_state", "snapshots"):
        import_module(f"vm_manager.backends.qemu.{module}")


def kill_everywhere(scenario: Scenario, data: Path, step: int, first: int) -> tuple[int, list[str]]:
    """Try every place; how many there were, and what was wrong after which of them."""
    log, at = data.parent / "log", first
    wrong: list[str] = []
    there = False
    while True:
        for argv in scenario.before if not there else scenario.back or ():
            if run(argv, log) != 0:
                return at, [*wrong, f"{argv} failed:\n{log.read_text()}"]
        killed = run(scenario.command, log, partial(install_hook, data, at))
        if killed != -signal.SIGKILL:
            run_out = [] if killed == 0 else [f"{scenario.command} failed:\n{log.read_text()}"]
            return at - 1, [*wrong, *run_out, *_clear(data, log)]
        status = run(scenario.again, log)
        found = _look(scenario, data, log.read_text(), status)
        there = scenario.back is not None and not found
        wrong += [
            f"killed before call {at}: {problem}" for problem in (found if there else [*found, *_clear(data, log)])
        ]
        at += step


def _look(scenario: Scenario, data: Path, said: str, status: int) -> list[str]:
    wrong = []
    if status not in scenario.statuses or "Traceback" in said:
        wrong.append(f"{scenario.again} ended with {status}:\n{said}")
    log = data.parent / "list"
    run(("list", "--json"), log)
    listed = json.loads(log.read_text())
    states = {vm["name"]: vm["state"] for vm in listed["vms"]}
    if states != scenario.vms or listed["diagnostics"]:
        wrong.append(f"then there are {states} {listed['diagnostics']}\n{said}")
    running = qemu_processes(data)
    if len(running) != scenario.running:
        wrong.append(f"QEMUs: {running}")
    vms = data / "vmctl" / "vms"
    rests = [str(path.relative_to(vms)) for path in vms.rglob(".*")] if vms.exists() else []
    if rests:
        wrong.append(f"left behind: {rests}")
    return wrong


def _clear(data: Path, log: Path) -> list[str]:
    """Destroy all VMs; what was wrong."""
    run(("list", "--quiet"), log)
    names = log.read_text().split()
    if names:
        run(("destroy", *names), log)
    left = qemu_processes(data)
    return [f"QEMUs {left} survived destroy"] if left else []


def main() -> None:
    """A scenario, a directory, which places; prints the result as JSON."""
    wanted = json.loads(sys.argv[1])
    scenario = Scenario(**wanted["scenario"])
    import_once()
    places, wrong = kill_everywhere(scenario, Path(os.environ["XDG_DATA_HOME"]), wanted["step"], wanted["first"])
    sys.stdout.write(json.dumps({"places": places, "wrong": wrong}))


if __name__ == "__main__":
    main()
