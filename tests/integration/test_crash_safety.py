"""kill -9 of vmctl before every single state-changing call: the same command again ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from driver import Vmctl
from killer import Scenario

_UP: tuple[tuple[str, ...], ...] = (("up",),)
_TO_DISK = ("suspend", "--to-disk", "blank")
_ANEW = ("start", "--discard-saved-state", "blank")
_SNAPSHOT = ("snapshot", "create", "blank", "one")
_FORGET = ("snapshot", "delete", "blank", "one")
_GO_BACK = ("snapshot", "restore", "blank", "one")
_CREATE = ("create", "--name", "blank", "--image", "blank.qcow2", "--memory", "32")
_PULL = ("image", "pull", "blank.qcow2")

_DOWN = ("down", "--timeout", "0")
_RELOAD = ("reload", "--timeout", "0")
_RUNS, _SAVED = {"blank": "running"}, {"blank": "suspended"}

_SCENARIOS = {
    "up": Scenario((), ("up",), ("up",), _RUNS, 1),
    "up of a stopped VM": Scenario((*_UP, _DOWN), ("up",), ("up",), _RUNS, 1, back=(_DOWN,)),
    "down": Scenario(_UP, _DOWN, _DOWN, {"blank": "stopped"}, 0, back=_UP),
    "down --destroy": Scenario(_UP, ("down", "--destroy"), ("down", "--destroy"), {}, 0),
    "reload": Scenario(_UP, _RELOAD, _RELOAD, _RUNS, 1, back=()),
    "suspend": Scenario(_UP, ("suspend", "blank"), ("suspend", "blank"), _SAVED, 1, back=(("resume", "blank"),)),
    "suspend --to-disk": Scenario(_UP, _TO_DISK, _TO_DISK, _SAVED, 0, back=(("resume", "blank"),)),
    "resume from disk": Scenario(
        (*_UP, _TO_DISK), ("resume", "blank"), ("resume", "blank"), _RUNS, 1, back=(_TO_DISK,)
    ),
    "start without the saved state": Scenario((*_UP, _TO_DISK), _ANEW, ("start", "blank"), _RUNS, 1, back=(_TO_DISK,)),
    "snapshot create": Scenario(_UP, _SNAPSHOT, _SNAPSHOT, _RUNS, 1, statuses=(0, 5), back=(_FORGET,)),
    "snapshot restore": Scenario((*_UP, _SNAPSHOT, _DOWN), _GO_BACK, _GO_BACK, _RUNS, 1, back=(_DOWN,)),
    "create": Scenario((), _CREATE, _CREATE, {"blank": "prepared"}, 0, statuses=(0, 5)),
    # Pruned before: what an earlier round has fetched would not be fetched again.
    "image pull": Scenario((("image", "prune"),), _PULL, _PULL, {}, 0),
    "image rm": Scenario((_PULL,), ("image", "rm", "blank.qcow2"), _PULL, {}, 0),
    "destroy": Scenario(_UP, ("destroy", "blank"), ("down", "--destroy"), {}, 0),
}


@pytest.mark.parametrize("name", _SCENARIOS)
def test_killed_at_every_step_the_same_command_converges(name: str, blank: Vmctl) -> None:
    wanted = {"scenario": dataclasses.asdict(_SCENARIOS[name]), "first": 1, "step": 1}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "killer.py"), json.dumps(wanted)],
        cwd=blank.directory,
        env=blank.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == [], "\n".join(result["wrong"])
    assert result["places"] >= 4
