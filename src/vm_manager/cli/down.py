"""`vmctl down`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import FileOption, NameOption, NamesArgument, finish, load_project, manager, selected


def down(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    destroy: Annotated[bool, typer.Option("--destroy", help="Remove the VMs, with their disks and keys.")] = False,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0, max=86400, help="For the guest to shut down by itself."),
    ] = 30.0,
) -> None:
    """Stop the VMs of the VMFile; their disks are kept, unless they are to be destroyed."""
    with manager() as vms:
        project = load_project(vms, file)
        outcomes = vms.down(project, selected(names, name), destroy=destroy, timeout_s=timeout)
    finish(outcomes)
