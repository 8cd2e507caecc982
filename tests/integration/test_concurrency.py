"""Several vmctl at once over one data directory: no record is lost or broken, whoever wins."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driver import Vmctl, blank_disk, qemu_processes
from killer import import_once, run
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

_PROCESSES, _ROUNDS = 8, 20
_NAMES = ("one", "two", "three")
# Done; not there; not now, or not in this state; and nobody answers on a blank disk.
_ALLOWED = (0, 4, 5, 10)


def _worker(number: int, log: Path) -> list[str]:
    """A process of its own: 20 rounds of commands on names that all share."""
    chance = random.Random(number)
    wrong = []
    for _ in range(_ROUNDS):
        name = chance.choice(_NAMES)
        argv = chance.choice(
            (
                ("create", "--name", name, "--image", "blank.qcow2", "--memory", "32"),
                ("start", name, "--timeout", "1"),
                ("suspend", name),
                ("list", "--json"),
                ("status", name, "--json"),
                ("stop", name, "--timeout", "0"),
                ("destroy", name),
            )
        )
        status = run(("--backend", os.environ["BACKEND"], *argv), log)
        if status not in _ALLOWED or "Traceback" in log.read_text():
            wrong.append(f"{argv} ended with {status}:\n{log.read_text()}")
    return wrong


@pytest.mark.parametrize("backend", ["noop", "qemu"])
def test_eight_processes_twenty_rounds(backend: str, vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", f"import test_concurrency as t; t.main({number})"],
            cwd=vmctl.directory,
            env=vmctl.environment(BACKEND=backend, PYTHONPATH=f"{Path(__file__).parent}:{Path(__file__).parents[1]}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(_PROCESSES)
    ]
    with ThreadPoolExecutor(_PROCESSES) as pool:
        said = list(pool.map(lambda worker: worker.communicate(timeout=900), workers))
    assert [(out, err) for out, err in said if out != "[]"] == []
    store = InstanceStore(DataDir(vmctl.data / "vmctl"))
    assert store.leftovers() == ()
    assert all(store.read(name).name == name for name in store.names())
    alive = [vm for vm in vmctl("list", "--json").json["vms"] if vm["pid"]]
    assert sorted(vm["pid"] for vm in alive) == sorted(qemu_processes(vmctl.data))


def main(number: int) -> None:
    """A worker."""
    import_once()
    sys.stdout.write(json.dumps(_worker(number, Path(f"log{number}"))))


def test_two_ups_of_one_vmfile(vmctl: Vmctl) -> None:
    blank_disk(vmctl.directory)
    vmctl.write('vm "one" { image "blank.qcow2"; memory 64; accel "tcg"; }\n')
    for _ in range(3):
        both = [vmctl.start("up"), vmctl.start("up")]
        ends = [(*process.communicate(), process.returncode) for process in both]
        assert sorted(status for _, _, status in ends)[0] == 0
        for _, err, status in ends:
            assert status == 0 or (
                status == 5 and "[vm_manager::state::locked]" in err and "`vmctl up` (pid " in err
            ), err
        assert len(qemu_processes(vmctl.data)) == 1
        vmctl("down", "--destroy")
