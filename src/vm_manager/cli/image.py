"""`vmctl image`: the image cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.session import JsonOption, manager
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError


class ImageFormat(StrEnum):
    """What qemu-img writes. Source: qemu-img(1)."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VDI = "vdi"
    VHDX = "vhdx"
    VMDK = "vmdk"
    VPC = "vpc"


def _complete_images(incomplete: str) -> list[str]:
    images, _ = Manager().images()
    return [image.name for image in images if image.name.startswith(incomplete)]


ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE", help="A file, or a name, URL or digest of the cache.", autocompletion=_complete_images
    ),
]


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="https, http, oci or file; or the path of a file.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it. Default: as its file.")] = "",
    sha256: Annotated[str | None, typer.Option("--sha256", metavar="DIGITS", help="The file's checksum.")] = None,
    sha512: Annotated[str | None, typer.Option("--sha512", metavar="DIGITS", help="The file's checksum.")] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="How large it may be. Default: 64GiB, for a disk of 2TiB. [env: VMCTL_MAX_IMAGE_SIZE]",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fetch an image into the cache, unless it is there; compressed ones (.zst, .xz, .gz) are decompressed."""
    from vm_manager.ui.images import image_item, size

    with _document_of_failure(json, image=None), manager(current.max_image_bytes(max_size)) as vms:
        pulled = vms.pull_image(url, name=name, sha256=sha256, sha512=sha512)
    found = pulled.image
    if json:
        _print(image={**image_item(found), "fetched": pulled.fetched})
    elif not current.quiet:
        how = f"fetched, {size(found.size_bytes)}" if pulled.fetched else "already in the cache"
        current.terminal.say(f"{name or found.name}: {how}")


def images(json: JsonOption = False) -> None:
    """List the images of the cache, with the VMs whose disks stand on them.

    With --quiet: their names only.
    """
    from vm_manager.ui.images import image_item, image_list_lines

    with _document_of_failure(json, images=[]):
        found, failures = Manager().images()
    if json:
        from vm_manager.ui.documents import diagnostic_items

        diagnostics = diagnostic_items(failure.diagnostic for failure in failures)
        _print(images=[image_item(image) for image in found], diagnostics=diagnostics)
    else:
        for line in [image.name for image in found] if current.quiet else image_list_lines(found):
            current.terminal.say(line)
    for failure in failures:
        current.terminal.show(failure.as_warning())


def inspect(image: ImageArgument, json: JsonOption = False) -> None:
    """Show what an image is, where it came from and which VMs use it.

    Its format, its sizes and the files below it, too.
    """
    from vm_manager.ui.images import report_item, report_lines

    with _document_of_failure(json, image=None):
        report = Manager().inspect_image(image)
    if json:
        _print(image=report_item(report))
        return
    for line in report_lines(report):
        current.terminal.say(line)


def convert(
    image: ImageArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    format: Annotated[ImageFormat, typer.Option("--format", help="The new file's format.")] = ImageFormat.QCOW2,
    compress: Annotated[bool, typer.Option("--compress", help="Compress it; qcow2 only.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an image, or the disk of a VM with the image below it, as a new file."""
    from vm_manager.ui.images import report_item, size

    with _document_of_failure(json, image=None), manager() as vms:
        report = vms.convert_image(image, file, format=format.value, compress=compress)
    if json:
        _print(image=report_item(report))
    elif not current.quiet:
        current.terminal.say(f"{file}: converted to {report.format}, {size(report.size_bytes)}")


def remove(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Names, URLs or digests of the cache.", autocompletion=_complete_images
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Remove images from the cache, unless a VM's disk stands on one of them."""
    from vm_manager.ui.images import image_item

    with _document_of_failure(json, images=[]):
        removed = Manager().remove_images(images)
    if json:
        _print(images=[image_item(image) for image in removed])
    elif not current.quiet:
        for image in removed:
            current.terminal.say(f"{image.name}: removed")


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove the images that no VM's disk stands on, and what broken off downloads have left."""
    from vm_manager.ui.images import image_item, size

    with _document_of_failure(json, images=[]):
        pruned = Manager().prune_images(dry_run=dry_run)
    if json:
        _print(
            images=[image_item(image) for image in pruned.images],
            leftovers=list(pruned.leftovers),
            freed_bytes=pruned.freed_bytes,
            dry_run=dry_run,
        )
    elif not current.quiet:
        would = "would be removed" if dry_run else "removed"
        for image in pruned.images:
            current.terminal.say(f"{image.name}: {would}, {size(image.size_bytes)}")
        for path in pruned.leftovers:
            current.terminal.say(f"{path}: {would}")
        if not pruned.images and not pruned.leftovers:
            current.terminal.say("nothing to remove")


def _print(**fields: object) -> None:
    from vm_manager.ui.documents import document

    current.terminal.say_raw(document(**{"diagnostics": [], **fields}))


@contextmanager
def _document_of_failure(json: bool, **empty: object) -> Iterator[None]:
    """With --json there is one document on standard output, on failure too."""
    try:
        yield
    except VmError as error:
        if json:
            from vm_manager.ui.documents import diagnostic_items

            _print(**empty, diagnostics=diagnostic_items([error.diagnostic]))
        raise
