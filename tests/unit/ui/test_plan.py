"""A plan as a table."""

from __future__ import annotations

import pytest

from unit.golden import assert_golden
from unit.samples import SHELL, instance, spec
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.instance import VmState
from vm_manager.domain.plan import Action, Operation, Plan, Totals, WaitFor
from vm_manager.domain.spec import ImageSource
from vm_manager.planning.up import plan_up
from vm_manager.ui.plan import plan_lines

_SOURCE = Source("VMFile.kdl", 'vm "database" { }\n\nvm "web" { }\nvm "old" { }\n')
_LONG = (
    "already running; vcpus, memory changed: takes effect after `vmctl down` and `vmctl up`; disk changed: takes effect"
)


def _plan() -> Plan:
    wanted = [
        spec("database", image=ImageSource(url="https://example.org/a"), provisioners=(SHELL,), span=Span(0, 2)),
        spec("web", memory_mib=4096, disk_bytes=9, span=Span(19, 21)),
        spec("old", span=Span(32, 34)),
    ]
    return plan_up(wanted, {"web": instance(spec("web")), "old": instance(spec("old"), VmState.STOPPED)}, ())


def test_every_operation_is_one_line_where_there_is_no_width() -> None:
    lines = plan_lines(_plan(), _SOURCE)
    assert len(lines) == 1 + len(_plan().operations) + 2
    assert all(operation.cause in line for operation, line in zip(_plan().operations, lines[1:], strict=False))
    assert_golden("plan.txt", "\n".join(lines) + "\n")


def test_in_80_columns_reasons_are_wrapped_below_themselves() -> None:
    lines = plan_lines(_plan(), _SOURCE, width=80)
    assert max(map(len, lines)) <= 80
    assert_golden("plan-80.txt", "\n".join(lines) + "\n")


def test_in_a_terminal_too_narrow_for_the_table_nothing_is_lost() -> None:
    plan = Plan((Operation("web", Action.NOTHING, _LONG),))
    assert plan_lines(plan, _SOURCE, width=30)[1].endswith(_LONG)


def test_a_wait_says_for_what() -> None:
    plan = Plan((Operation("web", Action.WAIT, "starting", wait_for=WaitFor.SSH),))
    assert plan_lines(plan, _SOURCE)[1].startswith("web  wait for SSH")


def test_a_plan_without_vms_is_a_head_and_totals() -> None:
    assert plan_lines(Plan(()), _SOURCE) == [
        "VM  ACTION  LINE  REASON",
        "",
        "Plan: 0 to create, 0 to change, 0 to destroy",
    ]


@pytest.mark.parametrize(
    ("actions", "totals"),
    [
        ((Action.FETCH, Action.CREATE, Action.START, Action.WAIT, Action.PROVISION), Totals(1, 0, 0)),
        ((Action.START, Action.WAIT), Totals(0, 1, 0)),
        ((Action.PROVISION,), Totals(0, 1, 0)),
        ((Action.RESTORE, Action.STOP), Totals(0, 1, 0)),
        ((Action.WAIT,), Totals(0, 0, 0)),
        ((Action.NOTHING,), Totals(0, 0, 0)),
        ((Action.REPLACE, Action.START), Totals(1, 0, 1)),
        ((Action.DESTROY,), Totals(0, 0, 1)),
    ],
    ids=str,
)
def test_a_vm_is_counted_by_what_becomes_of_it(actions: tuple[Action, ...], totals: Totals) -> None:
    plan = Plan(tuple(Operation("web", action, "why") for action in actions))
    assert plan.totals == totals
