"""`vmctl start`, `stop`, `restart`, `suspend`, `resume` and `destroy`: VMs by name, wherever they came from."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import AccelOption, JsonOption, StopTimeoutOption, VmsArgument, work
from vm_manager.domain.deadline import STOP_TIMEOUT_S


def start(
    names: VmsArgument,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=1, max=86400, help="For the guest to get ready."),
    ] = None,
    discard: Annotated[
        bool, typer.Option("--discard-saved-state", help="Boot VMs that were saved to disk without their memory.")
    ] = False,
    accel: AccelOption = None,
    json: JsonOption = False,
) -> None:
    """Start VMs, or let suspended ones go on.

    Returns when they are as ready as they have been before.
    """
    with work(json=json, starts=True, accel=accel) as command:
        command.done(command.vms.start(names, timeout_s=timeout, discard_saved_state=discard))


def stop(names: VmsArgument, timeout: StopTimeoutOption = STOP_TIMEOUT_S, json: JsonOption = False) -> None:
    """Shut VMs down; one that does not react in time is made to stop."""
    with work(json=json) as command:
        command.done(command.vms.stop(names, timeout_s=timeout))


def restart(
    names: VmsArgument, timeout: StopTimeoutOption = STOP_TIMEOUT_S, accel: AccelOption = None, json: JsonOption = False
) -> None:
    """Stop VMs and start them again."""
    with work(json=json, starts=True, accel=accel) as command:
        command.done(command.vms.restart(names, timeout_s=timeout))


def suspend(
    names: VmsArgument,
    to_disk: Annotated[
        bool, typer.Option("--to-disk", help="Save memory and devices to disk, and let QEMU exit.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Pause VMs: their virtual CPUs stand still, their memory stays.

    With --to-disk they take no memory any more and survive a restart of this host.
    """
    with work(json=json) as command:
        command.done(command.vms.suspend(names, to_disk=to_disk))


def resume(names: VmsArgument, json: JsonOption = False) -> None:
    """Let suspended VMs go on, also those that were saved to disk."""
    with work(json=json) as command:
        command.done(command.vms.resume(names))


def destroy(names: VmsArgument, json: JsonOption = False) -> None:
    """Remove VMs, with their disks and keys, wherever they came from."""
    with work(json=json) as command:
        command.done(command.vms.destroy(names))
