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
        typer.Option(
            "--step", metavar="N", min=1, help="Run only step N of a single VM, even if it is a run-once step."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the provisioners of running VMs again.

    Run-once steps that have succeeded are skipped, unless selected with --step.
    """
    with work(json=json) as command:
        project = load_project(command.vms, file)
        command.done(command.vms.provision(project, selected(names, name), number=step))
