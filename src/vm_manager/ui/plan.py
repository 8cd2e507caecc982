"""A plan for people: a table, a row per operation, and how many VMs it creates, changes and destroys."""

from __future__ import annotations

import textwrap

from vm_manager.diagnostics.spans import Source
from vm_manager.domain.plan import Action, Operation, Plan, WaitFor

_COLUMNS = ("VM", "ACTION", "LINE", "REASON")
_GAP = "  "
# A reason is not squeezed into less: the terminal wraps the line instead.
_NARROWEST = 20
_ACTIONS = {
    Action.FETCH: "download image",
    Action.SAVE: "suspend to disk",
    Action.RESTORE: "resume from disk",
    Action.DISCARD: "discard saved state",
    Action.WAIT: "wait until ready",
    Action.NOTHING: "no change",
}


def plan_lines(plan: Plan, source: Source, *, width: int | None = None) -> list[str]:
    """The table of a plan, with the line of the VMFile behind each row, and its totals.

    width: columns at which reasons are wrapped; None: one row is one line, however long.
    """
    rows = [_COLUMNS, *(_row(operation, source) for operation in plan.operations)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    indent = sum(widths) + len(_GAP) * len(widths)
    return [*(line for row in rows for line in _lines(row, widths, indent, width)), "", _totals(plan)]


def _row(operation: Operation, source: Source) -> tuple[str, str, str, str]:
    where = f"{source.name}:{source.position(operation.span.start)[0]}" if operation.span else "-"
    return operation.vm, _action(operation), where, operation.cause


def _action(operation: Operation) -> str:
    if operation.action is Action.WAIT and operation.wait_for is WaitFor.SSH:
        return "wait for SSH"
    return _ACTIONS.get(operation.action, operation.action.value)


def _lines(row: tuple[str, ...], widths: list[int], indent: int, width: int | None) -> list[str]:
    head = "".join(f"{cell:<{columns}}{_GAP}" for cell, columns in zip(row, widths, strict=False))
    room = width - indent if width else 0
    if room < _NARROWEST:
        return [f"{head}{row[-1]}"]
    first, *others = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False)
    return [f"{head}{first}", *(f"{'':<{indent}}{other}" for other in others)]


def _totals(plan: Plan) -> str:
    totals = plan.totals
    return f"Plan: {totals.create} to create, {totals.change} to change, {totals.destroy} to destroy"
