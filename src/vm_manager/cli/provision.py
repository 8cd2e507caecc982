"""`vmctl provision`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import FileOption, NameOption, NamesArgument, finish, load_project, manager, selected


def provision(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", min=1, help="Only the N-th step, of a single VM, even if it runs once."),
    ] = None,
) -> None:
    """Run the provisioners of running VMs again, but for those that run once and have succeeded."""
    with manager() as vms:
        project = load_project(vms, file)
        outcomes = vms.provision(project, selected(names, name), number=step)
    finish(outcomes)
