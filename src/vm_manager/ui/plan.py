"""A plan for people."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.diagnostics.spans import Source
from vm_manager.domain.plan import Action, Operation


def plan_lines(operations: Sequence[Operation], source: Source) -> list[str]:
    """The operations of a plan, each with its cause and the line of the VMFile that wants it."""
    lines = []
    for operation in operations:
        what = "nothing to do" if operation.action is Action.NOTHING else operation.action
        where = f"  ({source.name}:{source.position(operation.span.start)[0]})" if operation.span else ""
        lines.append(f"{operation.vm}: {what} — {operation.cause}{where}")
    return lines
