"""`vmctl create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption, accel_option, one_of, work
from vm_manager.domain.architecture import DEFAULT_ARCHITECTURE, Architecture
from vm_manager.domain.spec import Accelerator, SshAccess, VmSpec


def create(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the VM.")],
    image: Annotated[Path | None, typer.Option("--image", metavar="PATH", help="Base image of its disk.")] = None,
    image_url: Annotated[
        str | None, typer.Option("--image-url", metavar="URL", help="Download the base image instead.")
    ] = None,
    sha256: Annotated[str | None, typer.Option("--sha256", metavar="DIGEST", help="Checksum of the download.")] = None,
    sha512: Annotated[str | None, typer.Option("--sha512", metavar="DIGEST", help="Checksum of the download.")] = None,
    vcpus: Annotated[str, typer.Option("--vcpus", metavar="NUMBER", help="Number of virtual CPUs.")] = str(
        VmSpec.vcpus
    ),
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Memory: MiB, or a size such as 2GiB.")] = str(
        VmSpec.memory_mib
    ),
    disk: Annotated[
        str | None,
        typer.Option(
            "--disk", metavar="SIZE", help=r"Disk size: GiB, or a size such as 20GiB \[default: as in the image]."
        ),
    ] = None,
    cloud_init: Annotated[
        Path | None,
        typer.Option(
            "--cloud-init", metavar="PATH", exists=True, dir_okay=False, help="User-data to use instead of vmctl's."
        ),
    ] = None,
    ssh_key: Annotated[
        Path | None,
        typer.Option(
            "--ssh-key",
            metavar="PATH",
            exists=True,
            dir_okay=False,
            help=r"Public key allowed to log in \[default: a new key pair].",
        ),
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="User to log in as.")] = SshAccess.user,
    bridge: Annotated[
        str | None, typer.Option("--bridge", metavar="NAME", help="Host bridge to attach its card to.")
    ] = None,
    forward: Annotated[
        list[str] | None,
        typer.Option("--forward", metavar="HOST:GUEST", help="Forward a port: 8080:80, 53:53/udp, 80. Repeatable."),
    ] = None,
    mac: Annotated[str | None, typer.Option("--mac", metavar="MAC", help="MAC address of its network card.")] = None,
    drive: Annotated[
        list[str] | None, typer.Option("--drive", metavar="NAME=SIZE", help="Add an empty disk. Repeatable.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="|".join(Architecture),
            callback=lambda word: word and one_of(tuple(Architecture))(word),
            help=r"Architecture of the guest \[default: the host's]; a foreign one is emulated.",
        ),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option(
            "--mount", metavar="DIR:PATH", help="Share a directory: src:/srv/src, src:/srv/src:ro. Repeatable."
        ),
    ] = None,
    uefi: Annotated[bool, typer.Option("--uefi", help="Boot with UEFI firmware.")] = False,
    accel: Annotated[str | None, accel_option(r"Accelerator of the VM \[default: auto].")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start the VM and wait until it is ready.")] = False,
    json: JsonOption = False,
) -> None:
    """Create a VM from options, without a VMFile."""
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
            uefi=uefi,
            arch=Architecture(arch or DEFAULT_ARCHITECTURE),
            accelerator=Accelerator(accel or VmSpec.accelerator),
            forwards=tuple(forward or ()),
            mac=mac,
            bridge=bridge,
            drives=tuple(drive or ()),
            mounts=tuple(mount or ()),
        )
        command.done(command.vms.create(new, start=start))
