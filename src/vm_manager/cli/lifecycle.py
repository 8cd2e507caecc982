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
        typer.Option(
            "--timeout", metavar="SECONDS", min=1, max=86400, help="How long to wait for the guest to be ready."
        ),
    ] = None,
    discard: Annotated[
        bool,
        typer.Option("--discard-saved-state", help="Boot saved VMs instead of restoring them. Their memory is lost."),
    ] = False,
    accept_base: Annotated[
        bool,
        typer.Option("--accept-base", help="Use the image below a disk although it is not as it was."),
    ] = False,
    accel: AccelOption = None,
    json: JsonOption = False,
) -> None:
    """Start VMs, or resume suspended ones.

    Waits until each VM is as ready as it was before.
    """
    with work(json=json, starts=True, accel=accel) as command:
        command.done(command.vms.start(names, timeout_s=timeout, discard_saved_state=discard, accept_base=accept_base))


def stop(names: VmsArgument, timeout: StopTimeoutOption = STOP_TIMEOUT_S, json: JsonOption = False) -> None:
    """Shut VMs down, by force after a timeout."""
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
        bool, typer.Option("--to-disk", help="Save memory and device state to disk, and exit QEMU.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Pause VMs, in memory or to disk.

    VMs suspended to disk use no host memory and survive a reboot of the host.
    """
    with work(json=json) as command:
        command.done(command.vms.suspend(names, to_disk=to_disk))


def resume(names: VmsArgument, json: JsonOption = False) -> None:
    """Resume suspended VMs, from memory or from disk."""
    with work(json=json) as command:
        command.done(command.vms.resume(names))


def destroy(names: VmsArgument, json: JsonOption = False) -> None:
    """Remove VMs, their disks and keys."""
    with work(json=json) as command:
        command.done(command.vms.destroy(names))
