"""`vmctl migrate`: a running VM goes on below another data directory."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption, VmArgument, work
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import Usage
from vm_manager.host.paths import DATA_DIRECTORY


def migrate(
    name: VmArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="URI", help="Target data directory: file:///srv/vmctl or /srv/vmctl.")
    ],
    json: JsonOption = False,
) -> None:
    """Move a running VM to another data directory on this host.

    The VM keeps running while its disk and memory are copied, and is paused
    only briefly. If the migration fails, it keeps running here.
    """
    from vm_manager.app.migrate import data_directory

    with work(json=json) as command:
        target = data_directory(to)
        if target.name != DATA_DIRECTORY:
            inside = shlex.quote(str(target / DATA_DIRECTORY))
            raise Usage(
                "vmctl would not find the VM in {path}: its data directories are called {name}",
                {"path": str(target), "name": DATA_DIRECTORY},
                help=(f"move it to one in there: `mkdir -p -m 700 {inside} && vmctl migrate {name} --to {inside}`",),
            )
        outcomes = command.vms.migrate(name, to)
        command.done(outcomes)
        if all(outcome.error is None for outcome in outcomes) and not current.quiet:
            home = shlex.quote(str(target.parent))
            current.terminal.tell(
                f"{name}: reached from now on with `XDG_DATA_HOME={home} vmctl`, as in `… vmctl ssh {name}`"
            )
