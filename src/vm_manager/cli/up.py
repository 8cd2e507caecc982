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
        "--wait", metavar="ready|ssh|none", callback=one_of(tuple(WaitFor)), help="Until what is so. Default: ready."
    ),
]
_Adopt = Annotated[bool, typer.Option("--adopt", help="Take over VMs that were made elsewhere.")]
_Parallel = Annotated[
    int | None,
    typer.Option("--parallel", metavar="N", min=1, max=1000, help="VMs at once. Default: what the host can take."),
]
_ReadyTimeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=1, max=86400, help="For each guest to get ready."),
]


def up(
    names: NamesArgument = None,
    file: FileOption = None,
    name: NameOption = None,
    no_provision: NoProvisionOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done, as `vmctl plan`.")] = False,
    parallel: _Parallel = None,
    wait: _Wait = WaitFor.READY,
    timeout: _ReadyTimeout = None,
    adopt: _Adopt = False,
    accel: AccelOption = None,
    json: JsonOption = False,
) -> None:
    """Create, start, wait for and provision the VMs of the VMFile.

    Those that others depend on come first. VMs that are up already are left as they are; one whose last `up` did not come to
    its end goes on from there.
    """
    options = UpOptions(
        provision=not no_provision, wait=WaitFor(wait), adopting=adopt, parallel=parallel, timeout_s=timeout
    )
    if dry_run:
        show_plan(file, selected(names, name), options, json=json)
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
    """Replace the VMs of the VMFile by new ones, and bring these up.

    A new VM is made completely before the old one is ended; what the old one's disk held is gone then.
    """
    with work(json=json, starts=True, accel=accel) as command:
        project = load_project(command.vms, file, warn=True)
        options = UpOptions(provision=not no_provision, stop_timeout_s=timeout)
        command.done(command.vms.reload(project, selected(names, name), options))
