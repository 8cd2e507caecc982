"""From a reference to where the disk image is, with everything the download engine needs to fetch it."""

from __future__ import annotations

from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.oci_reference import NotAReference, OciReference, parse_reference
from vm_manager.images.download import Source
from vm_manager.images.http import Limits, redacted
from vm_manager.images.oci.manifest import disk_of, image_of
from vm_manager.images.oci.registry import Registry


def oci_source(url: str, cancel: CancelToken, limits: Limits | None = None, arch: str | None = None) -> Source:
    """Ask the registry for an image's manifest, and say where its disk is; what fails while that is fetched is told as ours.

    url: `oci://registry[:port]/repository[:tag][@digest]`; over plain http when the registry is on this host, else https.
    An index is followed to the image for an architecture such as `aarch64`; default: this host's.
    Raises: `oci::pull_failed`, `vmctl::usage` when the URL is no reference, `host::missing_tool` for a credential helper.
    """
    reference = reference_of(url)
    registry = Registry(reference, cancel, limits)
    version = reference.version
    manifest = registry.manifest(version)
    if manifest.manifests is not None:
        version = image_of(manifest, reference, arch).digest
        manifest = registry.manifest(version)
    return registry.blob(disk_of(manifest, reference), version)


def reference_of(url: str) -> OciReference:
    """The reference that a URL is. Raises: `vmctl::usage`, with what is wrong with it."""
    try:
        return parse_reference(url)
    except NotAReference as error:
        raise Usage(
            "{url} does not refer to an image in a registry",
            {"url": redacted(url)},
            help=(error.help,),
            notes=(error.reason,),
        ) from None
