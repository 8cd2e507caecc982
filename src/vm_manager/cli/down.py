"""`vmctl down`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from vm_manager.cli.session import (
    FileOption,
    JsonOption,
    NameOption,
    NamesArgument,
    StopTimeoutOption,
    load_project,
    selected,
    work,
)
from vm_manager.cli.settings import current
from vm_manager.domain.deadline import STOP_TIMEOUT_S


def down(
    ctx: typer.Context,
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Remove the VMs, their disks and keys.")] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Include VMs that the VMFile no longer defines.")] = False,
    timeout: StopTimeoutOption = STOP_TIMEOUT_S,
    json: JsonOption = False,
) -> None:
    """Stop the VMs in the VMFile and keep their disks."""
    with work(json=json) as command:
        project = load_project(command.vms, file)
        command.done(
            command.vms.down(project, selected(names, name), destroy=destroy, with_orphans=orphans, timeout_s=timeout)
        )
    given = ctx.get_parameter_source("verbose")
    if not destroy and given is not None and given.name == "COMMANDLINE":
        # Whoever knows docker compose takes it for `--volumes`, and would not see that nothing was removed.
        which = shlex.join(["vmctl", "down", "--destroy", *selected(names, name)])
        current.terminal.tell(f"`-v` makes vmctl verbose, and the disks are kept: to remove them, too, run `{which}`")
