"""`vmctl ssh`."""

from __future__ import annotations

import logging
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import FileOption, load_project, manager
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError, VmNotFound
from vm_manager.host.environment import SSH, clean_environment

_log = logging.getLogger(__name__)

_OPENSSH_FAILED = 255


def ssh(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME] [--] [CMD...]", help="The VM, and a command to run instead of a shell."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the VM.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Log in as this user.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PATH", help="Use this private key.")] = None,
    file: FileOption = None,
) -> None:
    """Open a shell in a VM, or run a command in it.

    NAME may be USER@NAME. What follows it is the command and its options.
    Exits with the status of the command. NAME can be omitted when the VMFile
    defines a single VM. The guest's host key is verified.
    """
    given = list(words or ())
    if ctx.obj and ctx.obj[0].startswith("-"):
        from vm_manager.cli.usage import option_for_openssh

        raise option_for_openssh(ctx.obj[0])
    with manager() as vms:
        vm = name or (given.pop(0) if given else _only_vm(vms, file))
        at, _, vm = vm.rpartition("@")
        user = user or at or None
        try:
            argv = vms.login_command(vm, [*given, *(ctx.obj or ())], user=user, key=key)
        except VmNotFound as error:
            if vm in (words or ()) and not name:
                _as_a_command(error, vms, file, [*(words or ()), *(ctx.obj or ())])
            raise
    status = _run(argv)
    if status == _OPENSSH_FAILED:
        with manager() as vms:
            current.terminal.show(vms.why_ssh_failed(vm, user=user, key=key).diagnostic)
    raise typer.Exit(status)


def _only_vm(vms: Manager, file: Path | None) -> str:
    from vm_manager.app.login import infer_vm

    return infer_vm(load_project(vms, file))


def _as_a_command(error: VmNotFound, vms: Manager, file: Path | None, words: list[str]) -> None:
    """Add how words are a command for the VMFile's only VM, if the first one is not just its name misspelt."""
    from vm_manager.domain.names import closest

    with suppress(VmError):
        vm = _only_vm(vms, file)
        if not closest(words[0], (vm,)):
            help = f"to run a command in VM '{vm}': `vmctl ssh -- {shlex.join(words)}`"
            error.enrich(help=(help, *error.diagnostic.help))


def _run(argv: list[str]) -> int:
    """Run OpenSSH on our terminal; Ctrl-C is the guest's while it runs."""
    _log.info("$ %s", shlex.join(argv))
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN: the child would inherit that
    try:
        status = subprocess.call(argv, env=clean_environment(SSH))
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status
