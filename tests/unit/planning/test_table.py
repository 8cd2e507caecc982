"""The table of commands and situations, cell by cell: the whole plan, what is so already, or the refusal with a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unit.samples import instance, record, spec
from vm_manager.diagnostics.errors import BackendNotAvailable, InvalidState
from vm_manager.domain.capabilities import Feature
from vm_manager.domain.instance import Instance, LastFailure, Observation, Progress, Snapshot, VmState
from vm_manager.domain.plan import Action
from vm_manager.planning.down import plan_down
from vm_manager.planning.lifecycle import plan_lifecycle
from vm_manager.planning.migrate import require_movable
from vm_manager.planning.situations import Situation, situation
from vm_manager.planning.snapshots import require_fitting
from vm_manager.planning.table import FEATURES, TABLE, Verb, cell
from vm_manager.planning.up import plan_up

_STARTED = Progress(started=True, ready=True, reached=True)
_NO_START = LastFailure("2026-01-02T03:04:05+00:00", "start", "vm_manager::qemu::spawn_failed", "QEMU exited")

_INSTANCES: dict[str, Instance] = {
    "prepared": instance(observed=VmState.PREPARED, progress=Progress()),
    "stopped": instance(observed=VmState.STOPPED, progress=replace(_STARTED, ready=False)),
    "failed to start": instance(observed=VmState.STOPPED, progress=Progress(started=True), failure=_NO_START),
    "running": instance(observed=VmState.RUNNING, progress=_STARTED),
    "suspended": instance(observed=VmState.SUSPENDED, progress=_STARTED),
    "saved": instance(observed=Observation(VmState.SUSPENDED, saved=True), progress=_STARTED, failure=_NO_START),
    "io-error": instance(observed=Observation(VmState.FAILED, alive=True, resumable=True), progress=_STARTED),
    "panicked": instance(observed=Observation(VmState.FAILED, alive=True), progress=_STARTED),
    "held": instance(observed=Observation(VmState.FAILED, alive=True, answers=False), progress=_STARTED),
}

_START, _STOP, _WAIT, _RESUME = Action.START, Action.STOP, Action.WAIT, Action.RESUME
_SUSPEND, _DESTROY = Action.SUSPEND, Action.DESTROY
_SAVE, _RESTORE, _DISCARD = Action.SAVE, Action.RESTORE, Action.DISCARD
_BOOT, _GO_ON, _AGAIN = (_START, _WAIT), (_RESUME, _WAIT), (_STOP, _START, _WAIT)

# A text: it is so already. In brackets: refused, with this way out.
_CELLS: dict[str, dict[str, tuple[Action, ...] | str]] = {
    "start": {
        "prepared": _BOOT,
        "stopped": _BOOT,
        "failed to start": (_START,),
        "running": "already running",
        "suspended": _GO_ON,
        "saved": (_RESTORE, _WAIT),
        "io-error": _GO_ON,
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "start --discard-saved-state": {
        "prepared": _BOOT,
        "stopped": _BOOT,
        "failed to start": (_START,),
        "running": "already running",
        "suspended": _GO_ON,
        "saved": (_DISCARD, _START, _WAIT),
        "io-error": _GO_ON,
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "stop": {
        "prepared": "already stopped",
        "stopped": "already stopped",
        "failed to start": "already stopped",
        "running": (_STOP,),
        "suspended": (_STOP,),
        "saved": (_RESTORE, _STOP),
        "io-error": (_STOP,),
        "panicked": (_STOP,),
        "held": (_STOP,),
    },
    "restart": {
        "prepared": _BOOT,
        "stopped": _BOOT,
        "failed to start": (_START,),
        "running": _AGAIN,
        "suspended": _AGAIN,
        "saved": (_RESTORE, _STOP, _START, _WAIT),
        "io-error": _AGAIN,
        "panicked": _AGAIN,
        "held": _AGAIN,
    },
    "suspend": {
        "prepared": "[vmctl start web]",
        "stopped": "[vmctl start web]",
        "failed to start": "[vmctl start web]",
        "running": (_SUSPEND,),
        "suspended": "already suspended",
        "saved": "already saved to disk",
        "io-error": "[vmctl resume web]",
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "suspend --to-disk": {
        "prepared": "[vmctl start web]",
        "stopped": "[vmctl start web]",
        "failed to start": "[vmctl start web]",
        "running": (_SAVE,),
        "suspended": (_SAVE,),
        "saved": "already saved to disk",
        "io-error": "[vmctl resume web]",
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "resume": {
        "prepared": "[vmctl start web]",
        "stopped": "[vmctl start web]",
        "failed to start": "[vmctl start web]",
        "running": "already running",
        "suspended": _GO_ON,
        "saved": (_RESTORE, _WAIT),
        "io-error": _GO_ON,
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "destroy": dict.fromkeys(_INSTANCES, (_DESTROY,)),
    "up": {
        "prepared": _BOOT,
        "stopped": _BOOT,
        "failed to start": _BOOT,
        "running": "already running",
        "suspended": _GO_ON,
        "saved": (_RESTORE, _WAIT),
        "io-error": "[vmctl resume web]",
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "down --destroy": dict.fromkeys(_INSTANCES, (_DESTROY,)),
    "console": {
        **dict.fromkeys(("prepared", "stopped", "failed to start"), "[vmctl start web]"),
        **dict.fromkeys(("running", "suspended", "io-error", "panicked"), ()),
        "saved": "[vmctl resume web]",
        "held": "[vmctl status web]",
    },
    "snapshot create": {
        **dict.fromkeys(("prepared", "stopped", "failed to start", "running", "suspended"), ()),
        "saved": "[vmctl resume web]",
        "io-error": "[vmctl resume web]",
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    },
    "snapshot restore": {**dict.fromkeys(_INSTANCES, ()), "saved": "[vmctl resume web]", "held": "[vmctl status web]"},
    "snapshot delete": dict.fromkeys(_INSTANCES, ()),
}
_CELLS["down"] = _CELLS["stop"]
_CELLS["screenshot"] = _CELLS["vnc"] = _CELLS["console"]
for _verb in ("ssh", "forward", "provision", "migrate"):
    _CELLS[_verb] = {
        **dict.fromkeys(("prepared", "stopped", "failed to start"), "[vmctl start web]"),
        "running": (),
        **dict.fromkeys(("suspended", "saved", "io-error"), "[vmctl resume web]"),
        "panicked": "[vmctl restart web]",
        "held": "[vmctl status web]",
    }


def _planned(verb: Verb, found: Instance) -> tuple[Action, ...] | str:
    """All that a command would do, in order; a text: it is so already."""
    match verb:
        case Verb.UP:
            operations = plan_up([found.record.spec], {"web": found}, ()).operations
        case Verb.DOWN | Verb.DOWN_DESTROY:
            operations = plan_down(["web"], {"web": found}, destroy=verb is Verb.DOWN_DESTROY).operations
        case Verb.MIGRATE:
            require_movable(found, ())
            return ()
        case Verb.SSH | Verb.FORWARD | Verb.CONSOLE | Verb.SCREENSHOT | Verb.VNC | Verb.PROVISION:
            return cell(verb, found)
        case Verb.SNAPSHOT_CREATE | Verb.SNAPSHOT_RESTORE | Verb.SNAPSHOT_DELETE:
            kept = Snapshot(tag="one", created_at="2026-01-02T03:04:05+00:00", memory_bytes=1)
            require_fitting(verb, found, () if verb is Verb.SNAPSHOT_CREATE else (kept,), "one")
            return ()
        case _:
            operations = plan_lifecycle(verb, found, guests=True).operations
    assert {operation.vm for operation in operations} == {"web"}
    if [operation.action for operation in operations] == [Action.NOTHING]:
        return operations[0].cause
    return tuple(operation.action for operation in operations)


@pytest.mark.parametrize(
    ("verb", "where", "expected"), [(verb, where, cell) for verb, row in _CELLS.items() for where, cell in row.items()]
)
def test_every_cell(verb: str, where: str, expected: tuple[Action, ...] | str) -> None:
    if not (isinstance(expected, str) and expected.startswith("[")):
        assert _planned(Verb(verb), _INSTANCES[where]) == expected
        return
    with pytest.raises(InvalidState) as refused:
        _planned(Verb(verb), _INSTANCES[where])
    diagnostic = refused.value.diagnostic
    failed = dict.fromkeys(("failed to start", "held"), "has failed")
    how = {"io-error": "is paused by an error", "panicked": "has crashed", **failed}.get(
        where, f"is {_INSTANCES[where].state}"
    )
    assert diagnostic.message.split(";")[0] == f"VM 'web' {how}"
    assert f"`{expected[1:-1]}`" in diagnostic.help[0]
    assert (diagnostic.subject.vm, len(diagnostic.help)) == ("web", 1)
    if _INSTANCES[where].observation.alive and not _INSTANCES[where].observation.answers:
        return  # what lets its process run again is no command of vmctl's
    # The way out leads to where it is possible, or to a machine that is up.
    way_out = Verb(expected.split()[1])
    assert not isinstance(_planned(way_out, _INSTANCES[where]), str)


def test_the_table_has_all_verbs_and_no_situation_is_forgotten() -> None:
    assert set(_CELLS) == {verb.value for verb in TABLE} == {verb.value for verb in Verb}
    assert {situation(found) for found in _INSTANCES.values()} == set(Situation)
    assert all(set(row) == set(_INSTANCES) for row in _CELLS.values())


@pytest.mark.parametrize("verb", FEATURES)
def test_what_a_backend_lacks_is_refused_before_it_is_asked(verb: Verb) -> None:
    for found in _INSTANCES.values():
        bare = replace(found, features=frozenset(Feature) - {FEATURES[verb]})
        with pytest.raises(BackendNotAvailable, match=f"the noop backend has no {FEATURES[verb]}") as refused:
            cell(verb, bare)
        assert refused.value.exit_code == 6


def test_only_what_stands_still_is_resumed() -> None:
    standing = (Situation.SUSPENDED, Situation.BLOCKED)
    elsewhere = [row[where] for row in TABLE.values() for where in row if where not in standing]
    assert not any(Action.RESUME in cell for cell in elsewhere if not isinstance(cell, str))


def test_nothing_is_waited_for_without_guests_or_a_login() -> None:
    assert [o.action for o in plan_lifecycle(Verb.START, _INSTANCES["stopped"], guests=False).operations] == [_START]
    bare = Instance(record(spec(ssh=None)), Observation(VmState.PREPARED), "/data/vms/web")
    assert [o.action for o in plan_lifecycle(Verb.START, bare, guests=True).operations] == [_START]


def test_a_resumed_vm_is_waited_for_only_if_it_was_ready_before() -> None:
    paused = instance(observed=VmState.SUSPENDED, progress=Progress(started=True, reached=True))
    assert [o.action for o in plan_lifecycle(Verb.RESUME, paused, guests=True).operations] == [_RESUME]
