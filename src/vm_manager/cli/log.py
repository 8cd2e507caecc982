"""`vmctl log`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current


def log(
    name: VmArgument,
    console: Annotated[bool, typer.Option("--console", help="What the guest wrote to its serial console.")] = False,
    provision: Annotated[bool, typer.Option("--provision", help="What the provisioners wrote.")] = False,
    qemu: Annotated[bool, typer.Option("--qemu", help="What QEMU itself wrote.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last lines of each.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
) -> None:
    """Show a VM's logs: those that are named, else the console's and the provisioners'."""
    from vm_manager.app.log import Log, LogLine
    from vm_manager.diagnostics.safe_text import safe_lines

    terminal = current.terminal
    wanted = [which for which, given in ((Log.CONSOLE, console), (Log.PROVISION, provision), (Log.QEMU, qemu)) if given]
    logs, shown = wanted or [Log.CONSOLE, Log.PROVISION], None
    for item in Manager().log(name, logs, lines=tail, follow=follow):
        if not isinstance(item, LogLine):
            if not current.quiet:
                terminal.tell(f"the {item.log} log of VM '{name}' is empty so far")
            continue
        if item.log is not shown and len(logs) > 1:
            # As tail(1) heads its files.
            terminal.say(f"==> {item.log}.log <==")
        shown = item.log
        for line in safe_lines(item.text):
            terminal.say(line)
