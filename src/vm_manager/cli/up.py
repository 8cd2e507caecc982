"""`vmctl up` and `vmctl reload`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import (
    FileOption,
    JsonOption,
    NameOption,
    NamesArgument,
    NoProvisionOption,
    StopTimeoutOption,
    load_project,
    one_of,
    selected,
    work,
)
from vm_manager.domain.plan import WaitFor


def up(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            metavar="ready|ssh|none",
            callback=one_of(tuple(WaitFor)),
            help="Until what is so. Default: ready.",
        ),
    ] = WaitFor.READY,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over VMs that were made elsewhere.")] = False,
    json: JsonOption = False,
) -> None:
    """Create, start, wait for and provision the VMs of the VMFile.

    VMs that are up already are left as they are; one whose last `up` did not come to its end goes on from there.
    """
    with work(json=json) as command:
        project = load_project(command.vms, file, warn=True)
        wanted = selected(names, name)
        command.done(command.vms.up(project, wanted, provision=not no_provision, wait=WaitFor(wait), adopting=adopt))


def reload(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    timeout: StopTimeoutOption = 30.0,
    json: JsonOption = False,
) -> None:
    """Replace the VMs of the VMFile by new ones, and bring these up.

    A new VM is made completely before the old one is ended; what the old one's disk held is gone then.
    """
    with work(json=json) as command:
        project = load_project(command.vms, file, warn=True)
        wanted = selected(names, name)
        command.done(command.vms.reload(project, wanted, provision=not no_provision, stop_timeout_s=timeout))
