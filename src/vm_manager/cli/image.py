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
        metavar="IMAGE", help="A file, or the name, URL or digest of a cached image.", autocompletion=_complete_images
    ),
]


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="An https, http, oci or file URL, or a path.")],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help=r"Name in the cache \[default: name of the file].")
    ] = "",
    sha256: Annotated[str | None, typer.Option("--sha256", metavar="DIGEST", help="Expected checksum.")] = None,
    sha512: Annotated[str | None, typer.Option("--sha512", metavar="DIGEST", help="Expected checksum.")] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help=r"Maximum size \[default: 64GiB, for a disk of 2TiB] \[env: VMCTL_MAX_IMAGE_SIZE].",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Download an image into the cache.

    Compressed images (.zst, .xz, .gz) are decompressed. An image that is already
    cached is not downloaded again."""
    from vm_manager.ui.images import image_item, size

    with _document_of_failure(json, image=None), manager(current.max_image_bytes(max_size)) as vms:
        pulled = vms.pull_image(url, name=name, sha256=sha256, sha512=sha512)
    found = pulled.image
    if json:
        _print(image={**image_item(found), "fetched": pulled.fetched})
    elif not current.quiet:
        how = f"downloaded, {size(found.size_bytes)}" if pulled.fetched else "already in the cache"
        current.terminal.say(f"{name or found.name}: {how}")


def images(json: JsonOption = False) -> None:
    """List cached images and the VMs that use them.

    With --quiet, names only.
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
    """Show the details of an image.

    Its format, size, backing files and source, and the VMs that use it.
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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Output file.")],
    format: Annotated[ImageFormat, typer.Option("--format", help="Output format.")] = ImageFormat.QCOW2,
    compress: Annotated[bool, typer.Option("--compress", help="Compress the output (qcow2 only).")] = False,
    json: JsonOption = False,
) -> None:
    """Convert an image, or a VM's disk, to a new file.

    The new file is a complete image: it needs no backing file."""
    from vm_manager.ui.images import report_item, size

    with _document_of_failure(json, image=None), manager() as vms:
        report = vms.convert_image(image, file, format=format.value, compress=compress)
    if json:
        _print(image=report_item(report))
    elif not current.quiet:
        current.terminal.say(f"{file}: converted to {report.format}, {size(report.size_bytes)}")
        named = file.suffix.lower().removeprefix(".")
        if named != report.format and named in tuple(ImageFormat):
            current.terminal.tell(
                f"{file} is {report.format} in spite of its name: for {named}, remove it and add `--format {named}`"
            )


def remove(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Names, URLs or digests of cached images.", autocompletion=_complete_images
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Remove images from the cache, unless a VM uses one of them."""
    from vm_manager.ui.images import image_item

    with _document_of_failure(json, images=[]):
        removed = Manager().remove_images(images)
    if json:
        _print(images=[image_item(image) for image in removed])
    elif not current.quiet:
        for image in removed:
            current.terminal.say(f"{image.name}: removed")


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed and exit.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove unused images and leftovers of failed downloads."""
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
