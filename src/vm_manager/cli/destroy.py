"""`vmctl destroy`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import finish, manager


def destroy(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The VMs.")]) -> None:
    """Remove VMs by name, with their disks and keys, wherever they came from."""
    with manager() as vms:
        outcomes = vms.destroy(names)
    finish(outcomes)
