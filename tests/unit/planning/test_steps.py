"""How far provisioning has come, in whatever order its steps were run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unit.samples import SHELL, spec
from vm_manager.domain.instance import Progress
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.planning.steps import after_step, before_steps, steps_to_do, why_steps

_ONCE = Provisioner(kind=ProvisionerKind.SHELL, inline="make db", env=(("MODE", "dev"),), once=True)
_SPEC = spec(provisioners=(SHELL, _ONCE, SHELL, SHELL))


def _shell(*commands: str) -> tuple[Provisioner, ...]:
    return tuple(Provisioner(kind=ProvisionerKind.SHELL, inline=command) for command in commands)


def _done(*commands: str) -> Progress:
    return Progress(done=tuple(step.identity for step in _shell(*commands)))


def test_steps_in_order_count_up() -> None:
    progress = Progress()
    for index in range(4):
        assert steps_to_do(_SPEC, progress) == tuple(range(index, 4))
        progress = after_step(_SPEC, progress, index)
    assert steps_to_do(_SPEC, progress) == ()
    every = tuple(step.identity for step in _SPEC.provisioners)
    assert progress == Progress(done=every, once_done=(_ONCE.identity,))


def test_a_step_that_ran_once_is_stepped_over() -> None:
    progress = Progress(done=(SHELL.identity,), once_done=(_ONCE.identity,))
    assert steps_to_do(_SPEC, progress) == (2, 3)
    assert steps_to_do(_SPEC, after_step(_SPEC, progress, 2)) == (3,)


def test_a_step_out_of_turn_leaves_those_before_it_to_be_done() -> None:
    progress = Progress(done=(SHELL.identity,))
    assert after_step(_SPEC, progress, 2) == progress
    assert after_step(_SPEC, progress, 0) == progress
    assert steps_to_do(_SPEC, after_step(_SPEC, progress, 1)) == (2, 3)


@pytest.mark.parametrize(
    ("done", "now", "todo", "why"),
    [
        ("abc", "abc", "", ""),
        ("a", "x", "x", ": step 1 is new or has changed"),  # the second failed, and both were replaced by one
        ("a", "abx", "bx", ""),
        ("a", "nab", "nab", ": step 1 is new or has changed"),
        ("abc", "axc", "xc", ": step 2 is new or has changed"),
        ("abc", "abcd", "d", ""),
        ("abc", "ac", "", ""),
        ("abc", "c", "", ""),
        ("abc", "", "", ""),
        ("abc", "acb", "b", ""),
        ("abab", "abab", "", ""),
        ("abab", "xbab", "xbab", ": step 1 is new or has changed"),
    ],
)
def test_a_run_goes_on_from_the_first_step_that_is_not_known(done: str, now: str, todo: str, why: str) -> None:
    wanted, progress = spec(provisioners=_shell(*now)), _done(*done)
    steps = steps_to_do(wanted, progress)
    assert "".join(now[index] for index in steps) == todo
    if steps:
        assert why_steps(wanted, progress, steps) == f"{len(todo)} of {len(now)} steps to run{why}"


def test_what_has_been_done_is_forgotten_when_steps_before_it_are_run() -> None:
    edited, before = spec(provisioners=_shell("a", "x", "c")), spec(provisioners=_shell("a", "b", "c"))
    begun = before_steps(edited, _done("a", "b", "c"))
    assert begun == _done("a")
    # It has failed, and the edit is taken back.
    assert steps_to_do(before, begun) == (1, 2)


def test_an_edited_step_that_is_run_alone_leaves_those_behind_it_done() -> None:
    edited = spec(provisioners=_shell("a", "x", "c"))
    assert after_step(edited, _done("a", "b", "c"), 1) == _done("a", "x", "c")


def test_a_step_is_known_by_what_its_file_holds_where_that_is_known() -> None:
    step = Provisioner(kind=ProvisionerKind.FILE, source="/srv/a", destination="/etc/a")
    before, after = replace(step, content="1"), replace(step, content="2")
    assert steps_to_do(spec(provisioners=(after,)), Progress(done=(before.identity,))) == (0,)
    assert steps_to_do(spec(provisioners=(after,)), Progress(done=(step.identity,))) == ()
    assert steps_to_do(spec(provisioners=(step,)), Progress(done=(before.identity,))) == ()
    assert steps_to_do(spec(provisioners=(replace(step, owner="root"),)), Progress(done=(step.identity,))) == (0,)


def test_a_step_is_the_same_wherever_it_stands_and_another_when_it_is_written_anew() -> None:
    moved = spec(provisioners=(_ONCE, SHELL))
    assert steps_to_do(moved, Progress(once_done=(_ONCE.identity,))) == (1,)
    for changed in (
        replace(_ONCE, inline="make  db"),
        replace(_ONCE, env=(("MODE", "prod"),)),
        replace(_ONCE, inline=None, script="make db"),
    ):
        assert changed.identity != _ONCE.identity
