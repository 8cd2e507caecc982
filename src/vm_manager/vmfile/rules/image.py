"""Images that are fetched."""

from __future__ import annotations

import ipaddress

from vm_manager.domain.oci_reference import NotAReference, is_oci, parse_reference
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.forms import SCHEMES, host_of, scheme_of
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


IMAGE_RULES = (_known_scheme, _whole_reference, _plain_http_has_checksum)
