"""`vmctl console`."""

from __future__ import annotations

import sys

from vm_manager.app.manager import Manager
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.ui.terminal import OutputClosed

_ENDS = {"left": "left the console of VM '{name}'", "closed": "VM '{name}' has closed its console"}


def console(name: VmArgument) -> None:
    """Be at a VM's serial console; Ctrl+] leaves it.

    Without a terminal it works in a pipe: standard input is given to the guest, and at its end the console goes on until the
    guest has been quiet for two seconds.
    """
    from vm_manager.ui.serial_console import attach

    terminal = current.terminal
    with Manager().console(name) as connect:
        if sys.stdin.isatty() and not current.quiet:
            terminal.tell(f"at the console of VM '{name}'; Ctrl+] leaves")
        try:
            left = attach(connect)
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise diagnosed(error, "standard output") from error
    if left.dropped_bytes and not current.quiet:
        terminal.tell(f"standard output was too slow: {left.dropped_bytes} bytes are left out")
    ending = _ENDS.get(left.end)
    if ending and not current.quiet:
        terminal.tell(ending.format(name=name))
