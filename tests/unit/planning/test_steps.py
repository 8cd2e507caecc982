"""How far provisioning has come, in whatever order its steps were run."""

from __future__ import annotations

from dataclasses import replace

from unit.samples import SHELL, spec
from vm_manager.domain.instance import Progress
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.planning.steps import after_step, steps_to_do

_ONCE = Provisioner(kind=ProvisionerKind.SHELL, inline="make db", env=(("MODE", "dev"),), once=True)
_SPEC = spec(provisioners=(SHELL, _ONCE, SHELL, SHELL))


def test_steps_in_order_count_up() -> None:
    progress = Progress()
    for index in range(4):
        assert steps_to_do(_SPEC, progress) == tuple(range(index, 4))
        progress = after_step(_SPEC, progress, index)
    assert steps_to_do(_SPEC, progress) == ()
    assert progress == Progress(steps_done=4, once_done=(_ONCE.identity,))


def test_a_step_that_ran_once_is_stepped_over() -> None:
    progress = Progress(steps_done=1, once_done=(_ONCE.identity,))
    assert steps_to_do(_SPEC, progress) == (2, 3)
    assert after_step(_SPEC, progress, 2).steps_done == 3


def test_a_step_out_of_turn_leaves_those_before_it_to_be_done() -> None:
    progress = Progress(steps_done=1)
    assert after_step(_SPEC, progress, 2) == progress
    assert after_step(_SPEC, progress, 0) == progress
    assert steps_to_do(_SPEC, after_step(_SPEC, progress, 1)) == (2, 3)


def test_a_step_is_the_same_wherever_it_stands_and_another_when_it_is_written_anew() -> None:
    moved = spec(provisioners=(_ONCE, SHELL))
    assert steps_to_do(moved, Progress(once_done=(_ONCE.identity,))) == (1,)
    for changed in (
        replace(_ONCE, inline="make  db"),
        replace(_ONCE, env=(("MODE", "prod"),)),
        replace(_ONCE, inline=None, script="make db"),
    ):
        assert changed.identity != _ONCE.identity
