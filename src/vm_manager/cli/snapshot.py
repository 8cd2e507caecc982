"""`vmctl snapshot create`, `list`, `restore` and `delete`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import JsonOption, VmArgument, work
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError

TagArgument = Annotated[str, typer.Argument(metavar="TAG", help="Tag of the snapshot.")]


def create(
    name: VmArgument,
    tag: Annotated[
        str | None, typer.Argument(metavar="[TAG]", help=r"Tag of the snapshot \[default: the current time].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Take a snapshot of a VM.

    It holds the disks, and the memory if the VM is running."""
    with work(json=json) as command:
        command.done(command.vms.create_snapshot(name, tag))


def list_snapshots(name: VmArgument, json: JsonOption = False) -> None:
    """List the snapshots of a VM, oldest first."""
    from vm_manager.ui.documents import diagnostic_items, document, snapshot_item
    from vm_manager.ui.tables import snapshot_lines

    terminal = current.terminal
    try:
        snapshots = Manager().snapshots(name)
    except VmError as error:
        if json:
            terminal.say_raw(document(snapshots=[], diagnostics=diagnostic_items([error.diagnostic])))
        raise
    if json:
        terminal.say_raw(document(snapshots=[snapshot_item(name, kept) for kept in snapshots], diagnostics=[]))
        return
    for line in snapshot_lines(snapshots):
        terminal.say(line)


def restore(name: VmArgument, tag: TagArgument, json: JsonOption = False) -> None:
    """Restore a VM to a snapshot.

    A snapshot with memory resumes where it was taken; one without requires the
    VM to be stopped. Later changes are lost unless another snapshot holds them.
    """
    with work(json=json) as command:
        command.done(command.vms.restore_snapshot(name, tag))


def delete(name: VmArgument, tag: TagArgument, json: JsonOption = False) -> None:
    """Delete a snapshot."""
    with work(json=json) as command:
        command.done(command.vms.delete_snapshot(name, tag))
