"""`vmctl up`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import (
    FileOption,
    NameOption,
    NamesArgument,
    finish,
    load_project,
    manager,
    one_of,
    selected,
)
from vm_manager.domain.plan import WaitFor


def up(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: Annotated[bool, typer.Option("--no-provision", help="Leave out the provisioners.")] = False,
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            metavar="ready|ssh|none",
            callback=one_of(tuple(WaitFor)),
            help="Until what is so. Default: ready.",
        ),
    ] = WaitFor.READY,
) -> None:
    """Create, start, wait for and provision the VMs of the VMFile.

    VMs that are up already are left as they are; one whose last `up` did not come to its end goes on from there.
    """
    with manager() as vms:
        project = load_project(vms, file, warn=True)
        outcomes = vms.up(project, selected(names, name), provision=not no_provision, wait=WaitFor(wait))
    finish(outcomes)
