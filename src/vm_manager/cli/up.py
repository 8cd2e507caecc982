"""`vmctl up` and `vmctl reload`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.app.up import UpOptions
from vm_manager.cli.plan import show_plan
from vm_manager.cli.session import (
    AccelOption,
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
from vm_manager.domain.deadline import STOP_TIMEOUT_S
from vm_manager.domain.plan import WaitFor

_Wait = Annotated[
    str,
    typer.Option(
        "--wait",
        metavar="ready|ssh|none",
        callback=one_of(tuple(WaitFor)),
        help="Wait until each VM is ready, accepts SSH, or not at all.",
    ),
]
_Adopt = Annotated[bool, typer.Option("--adopt", help="Take over VMs created by another VMFile or by `vmctl create`.")]
_Parallel = Annotated[
    int | None,
    typer.Option(
        "--parallel", metavar="N", min=1, max=1000, help=r"VMs to work on at once \[default: as many as fit this host]."
    ),
]
_ReadyTimeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=1, max=86400, help="How long to wait for each guest to be ready."),
]


def up(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit, like `vmctl plan`.")] = False,
    parallel: _Parallel = None,
    wait: _Wait = WaitFor.READY,
    timeout: _ReadyTimeout = None,
    adopt: _Adopt = False,
    accel: AccelOption = None,
    json: JsonOption = False,
) -> None:
    """Create, start and provision the VMs in the VMFile.

    Dependencies start first. Running VMs are left alone. After a failure or an
    interrupt, run `up` again to continue where it stopped.
    """
    options = UpOptions(
        provision=not no_provision, wait=WaitFor(wait), adopting=adopt, parallel=parallel, timeout_s=timeout
    )
    if dry_run:
        show_plan(file, selected(names, name), options, json=json, accel=accel)
        return
    with work(json=json, starts=True, accel=accel) as command:
        project = load_project(command.vms, file, warn=True)
        command.done(command.vms.up(project, selected(names, name), options))


def reload(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    timeout: StopTimeoutOption = STOP_TIMEOUT_S,
    accel: AccelOption = None,
    json: JsonOption = False,
) -> None:
    """Replace the VMs in the VMFile with new ones and start them.

    Each new VM is created before the old one is removed. Data on the old disk is lost.
    """
    with work(json=json, starts=True, accel=accel) as command:
        project = load_project(command.vms, file, warn=True)
        options = UpOptions(provision=not no_provision, stop_timeout_s=timeout)
        command.done(command.vms.reload(project, selected(names, name), options))
