"""`vmctl provision`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import (
    FileOption,
    JsonOption,
    NameOption,
    NamesArgument,
    load_project,
    selected,
    work,
)


def provision(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", min=1, help="Only the N-th step, of a single VM, even if it runs once."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the provisioners of running VMs again.

    Those that run once and have succeeded are left out, unless --step names one.
    """
    with work(json=json) as command:
        project = load_project(command.vms, file)
        command.done(command.vms.provision(project, selected(names, name), number=step))
