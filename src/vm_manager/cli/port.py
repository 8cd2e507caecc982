"""`vmctl port`."""

from __future__ import annotations

from vm_manager.app.manager import Manager
from vm_manager.cli.session import JsonOption, VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError
from vm_manager.ui.documents import diagnostic_items, document, port_items
from vm_manager.ui.tables import port_lines


def port(name: VmArgument, json: JsonOption = False) -> None:
    """Show the host ports that lead into a running VM."""
    try:
        instance = Manager().status(name)
    except VmError as error:
        if json:
            current.terminal.say_raw(document(ports=[], diagnostics=diagnostic_items([error.diagnostic])))
        raise
    if json:
        current.terminal.say_raw(document(ports=port_items(instance), diagnostics=[]))
        return
    for line in port_lines(instance):
        current.terminal.say(line)
