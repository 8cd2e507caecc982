"""The transition table, cell by cell: what is done, what is so already, and what is refused with a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unit.samples import instance, record, spec
from vm_manager.diagnostics.errors import InvalidState
from vm_manager.domain.instance import Instance, LastFailure, Observation, Progress, VmState
from vm_manager.domain.plan import Action
from vm_manager.planning.lifecycle import TABLE, Situation, Verb, plan_lifecycle, situation

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
    },
    "destroy": dict.fromkeys(_INSTANCES, (_DESTROY,)),
}


@pytest.mark.parametrize(
    ("verb", "where", "expected"), [(verb, where, cell) for verb, row in _CELLS.items() for where, cell in row.items()]
)
def test_every_cell(verb: str, where: str, expected: tuple[Action, ...] | str) -> None:
    if isinstance(expected, str) and expected.startswith("["):
        with pytest.raises(InvalidState) as refused:
            plan_lifecycle(Verb(verb), _INSTANCES[where], guests=True)
        diagnostic = refused.value.diagnostic
        assert diagnostic.message == f"VM 'web' is {_INSTANCES[where].state}"
        assert f"`{expected[1:-1]}`" in diagnostic.help[0]
        assert diagnostic.subject.vm == "web"
        return
    operations = plan_lifecycle(Verb(verb), _INSTANCES[where], guests=True).operations
    if isinstance(expected, str):
        assert [(operation.action, operation.cause) for operation in operations] == [(Action.NOTHING, expected)]
    else:
        assert tuple(operation.action for operation in operations) == expected


def test_the_table_has_all_verbs_and_no_situation_is_forgotten() -> None:
    assert set(_CELLS) == {verb.value for verb in TABLE} == {verb.value for verb in Verb}
    assert {situation(found) for found in _INSTANCES.values()} == set(Situation)
    assert all(set(row) == set(_INSTANCES) for row in _CELLS.values())


def test_nothing_is_waited_for_without_guests_or_a_login() -> None:
    assert [o.action for o in plan_lifecycle(Verb.START, _INSTANCES["stopped"], guests=False).operations] == [_START]
    bare = Instance(record(spec(ssh=None)), Observation(VmState.PREPARED), "/data/vms/web")
    assert [o.action for o in plan_lifecycle(Verb.START, bare, guests=True).operations] == [_START]


def test_a_resumed_vm_is_waited_for_only_if_it_was_ready_before() -> None:
    paused = instance(observed=VmState.SUSPENDED, progress=Progress(started=True, reached=True))
    assert [o.action for o in plan_lifecycle(Verb.RESUME, paused, guests=True).operations] == [_RESUME]
