"""Images that are fetched."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.file_kinds import HEAD_BYTES, NoDisk, no_disk
from vm_manager.domain.oci_reference import NotAReference, is_oci, parse_reference
from vm_manager.domain.sizes import shown_disk, written_disk
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.forms import SCHEMES, host_of, scheme_of
from vm_manager.vmfile.input_files import UnfitFile, read_head
from vm_manager.vmfile.paths import absolute
from vm_manager.vmfile.rules.setting import Setting


def _known_scheme(vm: Block, setting: Setting) -> None:
    for block in vm.all("image-url"):
        scheme = scheme_of(block.text)
        if block.text and scheme not in SCHEMES:
            setting.problems.add(
                block.values[0].span if block.values[0] else block.span,
                f"an image-url with the scheme '{scheme}'", "cannot be fetched",
                "use https, http or oci; or download it yourself and use the file: image \"disk.qcow2\"",
            )  # fmt: skip


def _whole_reference(vm: Block, setting: Setting) -> None:
    for block in vm.all("image-url"):
        if not is_oci(block.text):
            continue
        try:
            parse_reference(block.text)
        except NotAReference as error:
            setting.problems.add(
                block.values[0].span if block.values[0] else block.span,
                "an image-url that does not refer to an image in a registry", error.reason, error.help,
            )  # fmt: skip


def _is_a_disk(vm: Block, setting: Setting) -> None:
    """An image of this host is not something else; whether it is a sound disk is for `up` to find out."""
    for block in vm.all("image"):
        if not (block.text and block.values[0]) or setting.problems.is_full:
            continue
        # What is missing, or no file, has been told; an empty one is for whoever makes a disk of it to refuse.
        with suppress(OSError, ValueError, RuntimeError, UnfitFile):
            path = absolute(block.text, setting.directory)
            head = read_head(path, HEAD_BYTES)
            if head and (found := no_disk(head, path.name, path.stat().st_size)):
                _tell(setting, block.values[0].span, found, path)


def _tell(setting: Setting, span: Span, found: NoDisk, path: Path) -> None:
    if found.known:
        setting.problems.add(span, f"the image is {found.what}", f"→ {path}", found.help_for(path))


def _plain_http_has_checksum(vm: Block, setting: Setting) -> None:
    for block in vm.all("image-url"):
        url = block.values[0] if block.values else None
        if url is None or scheme_of(block.text) != "http" or _is_loopback(host_of(block.text)):
            continue
        if not block.written & {"sha256", "sha512", "checksum-url"}:
            setting.problems.warn(
                url.span, "an image over plain http without a checksum", "could be modified in transit",
                'use https, or add: sha256="…"',
            )  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _fits_the_disk(vm: Block, setting: Setting) -> None:
    """Only a warning: a VM that exists has its disk already."""
    image, disk = vm.get("image", str), vm.get("disk", int)
    if not (image and disk and setting.platform):
        return
    try:
        least = setting.platform.disk_bytes(absolute(image.value, setting.directory))
    except RuntimeError:
        return  # the home directory of nobody, which is told with the image
    if least and disk.value < least:
        setting.problems.warn(
            disk.span, f"a disk smaller than its image, which has {shown_disk(least)}", "too small to create the VM",
            f"write at least `{written_disk(least)}`, or leave it out: an image cannot be shrunk",
        )  # fmt: skip


IMAGE_RULES = (_is_a_disk, _known_scheme, _whole_reference, _plain_http_has_checksum, _fits_the_disk)
