"""`vmctl screenshot` and `vmctl vnc`."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.app.output_file import require_place
from vm_manager.cli.session import VmArgument
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.file_kinds import PNG_SIGNATURE

_STDOUT = "-"


def screenshot(
    name: VmArgument,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help=r"PNG file to write, or `-` for standard output \[default: NAME.png]."),
    ] = None,
) -> None:
    """Save a picture of a VM's screen.

    This also works while the VM boots, and when it has crashed. An older
    picture is replaced, any other file is not. The umask decides who can read
    it.
    """
    from vm_manager.state.files import write_atomically

    if file == _STDOUT and sys.stdout.isatty():
        raise Usage(
            "a picture cannot be shown on a terminal",
            help=(f"name a file, `vmctl screenshot {name} {name}.png`, or redirect standard output",),
        )
    path = None if file == _STDOUT else Path(file or f"{name}.png")
    if path:
        # Nothing but an older picture is replaced: a mistyped name may be that of the VMFile.
        require_place(path, over=PNG_SIGNATURE)
    picture = Manager().picture(name)
    if path is None:
        current.terminal.say_bytes(picture)
        return
    write_atomically(path, picture, durable=False, usual_mode=True)
    if not current.quiet:
        current.terminal.say(f"{name}: wrote {path}")


def vnc(
    name: VmArgument,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve it on this port of 127.0.0.1 until Ctrl-C; 0: a free one.",
        ),
    ] = None,
) -> None:
    """Show how to view and control a VM's screen.

    The screen is served by VNC, on a UNIX socket that only you can open.
    TigerVNC's viewer connects to it. For other viewers, `--port` offers it by
    TCP: without a password, so to every user of this host.
    """
    path = Manager().vnc_socket(name)
    if port is None:
        current.terminal.say(f"vncviewer {shlex.quote(str(path))}")
        if not current.quiet:
            current.terminal.tell(f"for viewers that cannot open a UNIX socket: `vmctl vnc {name} --port 5900`")
        return
    _serve(name, port, path)


def _serve(name: str, port: int, path: Path) -> None:
    from vm_manager.host.listeners import listener
    from vm_manager.host.relay import Relay

    with Relay(listener(port, f"vmctl vnc {name} --port 0"), path) as relay:
        if not current.quiet:
            where = f"127.0.0.1:{relay.socket.getsockname()[1]}, open to every user of this host"
            current.terminal.tell(f"the screen of VM '{name}' is on {where}; press Ctrl-C to end this")
        with suppress(KeyboardInterrupt):
            relay.serve_forever()
