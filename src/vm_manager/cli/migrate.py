"""`vmctl migrate`: a running VM goes on below another data directory."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption, VmArgument, work


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
    with work(json=json) as command:
        command.done(command.vms.migrate(name, to))
