"""`vmctl plan`, and `vmctl up --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm_manager.app.up import UpOptions
from vm_manager.cli.session import (
    FileOption,
    JsonOption,
    NameOption,
    NamesArgument,
    NoProvisionOption,
    load_project,
    manager,
    selected,
)
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError
from vm_manager.ui.documents import diagnostic_items, document, operation_item
from vm_manager.ui.plan import plan_lines


def plan(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    json: JsonOption = False,
) -> None:
    """Show what `vmctl up` would do, without doing it."""
    show_plan(file, selected(names, name), UpOptions(provision=not no_provision), json=json)


def show_plan(
    file: Path | None, names: Sequence[str], options: UpOptions, *, json: bool, accel: str | None = None
) -> None:
    """Print the plan, as a table or as one document. accel: with what the VMs would be started, else the environment says it."""
    try:
        with manager(accelerator=current.accelerator(accel)) as vms:
            project = load_project(vms, file, warn=True)
            plan = vms.plan(project, names, options)
    except VmError as error:
        if json:
            current.terminal.say_raw(document(operations=[], diagnostics=diagnostic_items([error.diagnostic])))
        raise
    if json:
        items = [operation_item(operation, project.source) for operation in plan.operations]
        current.terminal.say_raw(document(operations=items, diagnostics=diagnostic_items(project.warnings)))
        return
    for line in plan_lines(plan, project.source, width=current.terminal.width):
        current.terminal.say(line)
