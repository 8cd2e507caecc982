"""`vmctl create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption, accel_option, work
from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.spec import Accelerator, SshAccess, VmSpec


def create(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The VM's name.")],
    image: Annotated[
        Path | None, typer.Option("--image", metavar="PATH", help="The disk image that it starts from.")
    ] = None,
    image_url: Annotated[
        str | None, typer.Option("--image-url", metavar="URL", help="An image to fetch instead.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="DIGITS", help="The checksum of what is fetched.")
    ] = None,
    sha512: Annotated[
        str | None, typer.Option("--sha512", metavar="DIGITS", help="The checksum of what is fetched.")
    ] = None,
    vcpus: Annotated[str, typer.Option("--vcpus", metavar="NUMBER", help="Virtual CPUs.")] = str(VmSpec.vcpus),
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory, in MiB or as a size such as 2GiB.")
    ] = str(VmSpec.memory_mib),
    disk: Annotated[
        str | None,
        typer.Option("--disk", metavar="SIZE", help="Its disk, in GiB or as a size. Default: as large as the image."),
    ] = None,
    cloud_init: Annotated[
        Path | None,
        typer.Option(
            "--cloud-init", metavar="PATH", exists=True, dir_okay=False, help="User-data instead of vmctl's own."
        ),
    ] = None,
    ssh_key: Annotated[
        Path | None,
        typer.Option(
            "--ssh-key",
            metavar="PATH",
            exists=True,
            dir_okay=False,
            help="The public key that may log in. Default: a new pair.",
        ),
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="The account to log in to.")] = SshAccess.user,
    bridge: Annotated[
        str | None, typer.Option("--bridge", metavar="NAME", help="A bridge of this host; not in this version.")
    ] = None,
    uefi: Annotated[bool, typer.Option("--uefi", help="Boot by UEFI; not in this version.")] = False,
    accel: Annotated[str | None, accel_option("What executes the guest, from now on. Default: auto.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it, and wait until it is ready.")] = False,
    json: JsonOption = False,
) -> None:
    """Make one VM from options, without a VMFile."""
    for option, given in (("--bridge", bridge), ("--uefi", uefi)):
        if given:
            raise Usage(
                "`{option}` does not work in this version of vmctl yet", {"option": option}, help=("leave it out",)
            )

    from vm_manager.app.options import NewVm

    with work(json=json, starts=True, accel=accel) as command:
        new = NewVm(
            name=name,
            image=image,
            image_url=image_url,
            sha256=sha256,
            sha512=sha512,
            vcpus=vcpus,
            memory=memory,
            disk=disk,
            user_data=cloud_init,
            ssh_key=ssh_key,
            user=user,
            accelerator=Accelerator(accel or VmSpec.accelerator),
        )
        command.done(command.vms.create(new, start=start))
