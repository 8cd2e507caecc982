"""`vmctl log`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current


def log(
    name: VmArgument,
    console: Annotated[bool, typer.Option("--console", help="Output of the serial console.")] = False,
    provision: Annotated[bool, typer.Option("--provision", help="Output of the provisioners.")] = False,
    qemu: Annotated[bool, typer.Option("--qemu", help="Output of QEMU itself.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Show only the last N lines of each log.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log output until Ctrl-C.")] = False,
) -> None:
    """Show the logs of a VM.

    By default those of its console and its provisioners."""
    from vm_manager.app.log import Log, LogLine
    from vm_manager.diagnostics.safe_text import safe_lines

    terminal = current.terminal
    wanted = [which for which, given in ((Log.CONSOLE, console), (Log.PROVISION, provision), ("qemu", qemu)) if given]
    logs, shown = wanted or list(Log), None
    for item in Manager().log(name, logs, lines=tail, follow=follow):
        if not isinstance(item, LogLine):
            if not current.quiet:
                terminal.tell(f"the {item.log} log of VM '{name}' is empty")
            continue
        if item.log is not shown and len(logs) > 1:
            # As tail(1) heads its files.
            terminal.say(f"==> {item.log}.log <==")
        shown = item.log
        for line in safe_lines(item.text):
            terminal.say(line)
