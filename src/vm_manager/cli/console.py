"""`vmctl console`."""

from __future__ import annotations

import sys

from vm_manager.app.manager import Manager
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.ui.terminal import OutputClosed

_ENDS = {"left": "left the console of VM '{name}'", "closed": "VM '{name}' closed its console"}


def console(name: VmArgument) -> None:
    """Open the serial console of a VM.

    Press Ctrl+] to leave. The console also works in a pipe: vmctl sends
    standard input to the guest and, at its end, exits once the guest has been
    silent for two seconds.
    """
    from vm_manager.ui.serial_console import attach

    terminal = current.terminal
    with Manager().console(name) as connect:
        if sys.stdin.isatty() and not current.quiet:
            terminal.tell(f"connected to the console of VM '{name}'; press Ctrl+] to leave")
        try:
            left = attach(connect)
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise diagnosed(error, "standard output") from error
    if left.dropped_bytes and not current.quiet:
        terminal.tell(f"standard output was too slow: dropped {left.dropped_bytes} bytes")
    ending = _ENDS.get(left.end)
    if ending and not current.quiet:
        terminal.tell(ending.format(name=name))
