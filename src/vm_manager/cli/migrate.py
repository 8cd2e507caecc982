"""`vmctl migrate`: a running VM goes on below another data directory."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption, VmArgument, work


def migrate(
    name: VmArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="URI", help="The other data directory: file:///srv/vmctl, or /srv/vmctl.")
    ],
    json: JsonOption = False,
) -> None:
    """Move a running VM to another data directory of this host.

    It runs on meanwhile: its disk is copied, its memory follows, and it stands still for a moment only. When that fails it is
    still here, and runs.
    """
    with work(json=json) as command:
        command.done(command.vms.migrate(name, to))
