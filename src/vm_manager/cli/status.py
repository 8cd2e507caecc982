"""`vmctl status`."""

from __future__ import annotations

from vm_manager.app.manager import Manager
from vm_manager.cli.session import JsonOption, VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError
from vm_manager.ui.documents import diagnostic_items, document, status_item
from vm_manager.ui.tables import status_lines


def status(name: VmArgument, json: JsonOption = False) -> None:
    """Show the details of a VM and its last failure."""
    terminal = current.terminal
    try:
        instance = Manager().status(name)
    except VmError as error:
        if json:
            terminal.say_raw(document(vm=None, diagnostics=diagnostic_items([error.diagnostic])))
        raise
    if json:
        terminal.say_raw(document(vm=status_item(instance), diagnostics=[]))
        return
    for line in status_lines(instance):
        terminal.say(line)
