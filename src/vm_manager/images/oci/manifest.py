"""What a registry says an image consists of. Source: the OCI image specification 1.1, "Image Manifest" and "Image Index"."""

from __future__ import annotations

import hashlib
import platform

import msgspec

from vm_manager.diagnostics.errors import OciPullFailed
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.bounded_json import Unreadable
from vm_manager.domain.oci_reference import OciReference, is_digest
from vm_manager.images.oci.documents import decoded

_MANIFESTS = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)
_INDEXES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
ACCEPT = ", ".join(sorted(_MANIFESTS | _INDEXES))

# vm-manager's own, and what tools give to a file that they are told nothing about.
_DISKS = ("application/vnd.cloudnebula.qcow2.layer.v1", "application/octet-stream")
# What Linux calls a machine, and what Go, and so the specification, calls it.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "loongarch64": "loong64"}
_SHOWN = 10


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""


class Descriptor(msgspec.Struct):
    """A piece of content, by its digest. size: in bytes."""

    mediaType: str
    digest: str
    size: int
    platform: _Platform | None = None


class Manifest(msgspec.Struct):
    """A manifest (layers) or an index (manifests); fields that matter to nobody here are left out."""

    mediaType: str = ""
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None


def read_manifest(body: bytes, content_type: str, reference: OciReference) -> Manifest:
    """Read a manifest or an index. content_type: as the registry said. Raises: `oci::pull_failed`."""
    try:
        manifest = decoded(body, Manifest)
    except Unreadable as error:
        raise _unusable("could not read the manifest of {image}", reference, (str(error),)) from None
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _MANIFESTS | _INDEXES:
        kind = manifest.mediaType
    is_index = kind in _INDEXES
    if not is_index and kind not in _MANIFESTS:
        raise _unusable("{image} is not an image, but of type {type}", reference, type=kind[:100] or "none")
    # One document that is both would be another image to another program: CVE-2021-41190.
    found = manifest.manifests if is_index else manifest.layers
    other = manifest.layers if is_index else manifest.manifests
    if found is None or other is not None or manifest.mediaType not in ("", kind):
        raise _unusable("the manifest of {image} is inconsistent", reference, (f"it was sent as {kind}",))
    for descriptor in found:
        if not is_digest(descriptor.digest) or descriptor.size < 0:
            raise _unusable("the manifest of {image} has an invalid digest or size", reference)
    return manifest


def verify_manifest(body: bytes, digest: str, reference: OciReference) -> None:
    """Make sure that a manifest is the one that the digest means. Raises: `oci::pull_failed`."""
    algorithm = digest.partition(":")[0]
    actual = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    if actual != digest:
        raise OciPullFailed(
            "the registry sent a different manifest for {image}: {actual}, not {expected}",
            {"image": reference.name, "actual": actual, "expected": digest},
            help=("do not use this image: it was modified by the registry or in transit",),
        )


def image_of(index: Manifest, reference: OciReference, machine: str | None = None) -> Descriptor:
    """The manifest of an index that is for a machine such as `aarch64`, by default this host. Raises: `oci::pull_failed`."""
    machine = machine or platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    offered = index.manifests or []
    for descriptor in offered:
        if descriptor.platform and (descriptor.platform.os, descriptor.platform.architecture) == (
            "linux",
            architecture,
        ):
            return descriptor
    named = [
        f"{found.os}/{found.architecture}"[:100] if (found := one.platform) else "(no platform)" for one in offered
    ]
    raise OciPullFailed(
        "{image} has no image for linux/{architecture}",
        {"image": str(reference), "architecture": architecture},
        help=("use a tag or a digest for this platform",),
        evidence=(Evidence("oci", "its platforms", tuple(named[:_SHOWN]), truncated=len(named) > _SHOWN),),
    )


def disk_of(manifest: Manifest, reference: OciReference) -> Descriptor:
    """The layer that is the disk image: the first of a type that may be one. Raises: `oci::pull_failed`."""
    layers = manifest.layers or []
    for layer in layers:
        if layer.mediaType in _DISKS:
            return layer
    types = [layer.mediaType[:100] for layer in layers]
    raise OciPullFailed(
        "{image} has no layer that is a disk image",
        {"image": str(reference)},
        help=(f"push the disk as a layer of type {_DISKS[0]}; a container image cannot run as a VM",),
        evidence=(Evidence("oci", "its layers", tuple(types[:_SHOWN]), truncated=len(types) > _SHOWN),),
    )


def _unusable(template: str, reference: OciReference, lines: tuple[str, ...] = (), **args: str) -> OciPullFailed:
    return OciPullFailed(
        template,
        {"image": str(reference), **args},
        help=("check the reference, or push the image again",),
        evidence=(Evidence("oci", "manifest", lines),) if lines else (),
    )
