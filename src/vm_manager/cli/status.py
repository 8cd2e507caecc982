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
    vms, terminal = Manager(), current.terminal
    try:
        instance, strays = vms.status(name), [stray for stray in vms.strays() if stray.diagnostic.subject.vm == name]
    except VmError as error:
        if json:
            terminal.say_raw(document(vm=None, diagnostics=diagnostic_items([error.diagnostic])))
        raise
    if json:
        found = diagnostic_items(stray.as_warning() for stray in strays)
        terminal.say_raw(document(vm=status_item(instance), diagnostics=found))
        return
    for line in status_lines(instance):
        terminal.say(line)
    for stray in strays:
        terminal.show(stray.as_warning())
