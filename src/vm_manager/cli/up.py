"""`vmctl up`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import FileOption, NameOption, NamesArgument, finish, load_project, manager, selected


def up(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: Annotated[bool, typer.Option("--no-provision", help="Leave out the provisioners.")] = False,
) -> None:
    """Create, start, wait for and provision the VMs of the VMFile.

    VMs that are up already are left as they are; one whose last `up` did not come to its end goes on from there.
    """
    with manager() as vms:
        project = load_project(vms, file, warn=True)
        outcomes = vms.up(project, selected(names, name), provision=not no_provision)
    finish(outcomes)
