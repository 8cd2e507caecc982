"""`vmctl down`."""

from __future__ import annotations

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
from vm_manager.domain.deadline import STOP_TIMEOUT_S


def down(
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
