"""Making an instance: base image, keys, seed, disk, record; it appears complete or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vm_manager.app.inputs import digests
from vm_manager.app.progress import download_progress
from vm_manager.app.seed import make_seed
from vm_manager.app.services import Services
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.image import SizeLimits
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.domain.spec import VmSpec
from vm_manager.host.image_lock import require_unused
from vm_manager.host.qemu_img import require_sound
from vm_manager.host.regular_file import require_image_file
from vm_manager.images.accept import require_acceptable
from vm_manager.images.cache import Found, ImageCache
from vm_manager.state.files import write_private
from vm_manager.state.layout import InstanceFiles


def fetch_image(services: Services, spec: VmSpec) -> Found:
    """Put the VM's image into the cache, unless somebody else has done so meanwhile.

    Raises: `image::download_failed`, `image::checksum_mismatch`, `image::format_detection_failed`.
    """
    cache = ImageCache(services.store.data.images, sizes=SizeLimits.of(services.max_image_bytes))
    with download_progress(services, spec.name, "fetch") as progress:
        return cache.fetch(spec.image, progress, services.cancel)


def cached_urls(services: Services, specs: Iterable[VmSpec]) -> frozenset[str]:
    """The URLs of their images that need no download."""
    cache = ImageCache(services.store.data.images)
    images = [spec.image for spec in specs if spec.image.url]
    missing = {image.url for image in images if not cache.find(image)}
    return frozenset(image.url for image in images if image.url and image.url not in missing)


def create_instance(services: Services, spec: VmSpec, origin: str, staging: Path) -> InstanceRecord:
    """Make an instance of `spec` that has never run, in an empty directory that will be its own. Returns its record.

    Raises: `image::refused`, `image::overlay_creation_failed`, `cloudinit::iso_failed`, `ssh::keygen_failed`.
    """
    with ImageCache(services.store.data.images).using(services.cancel):
        return _create(services, spec, origin, staging)


def _create(services: Services, spec: VmSpec, origin: str, staging: Path) -> InstanceRecord:
    backend = services.backend()
    base = _base_image(services, spec)
    if backend.capabilities().guests:
        sizes = SizeLimits.of(services.max_image_bytes)
        format = require_acceptable(Path(base.path), sizes).format
        if not spec.image.url:  # what was fetched was checked as it came
            require_unused(Path(base.path))
            require_sound(Path(base.path), format)
        base = replace(base, format=format)
    files = InstanceFiles(staging)
    record = InstanceRecord(
        name=spec.name,
        origin=origin,
        instance_id=str(uuid.uuid4()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        spec=spec,
        base_image=base,
        backend=backend.name,
        seeded=spec.has_seed,
        inputs=digests(spec),
    )
    # First of all, so that whoever looks meanwhile sees what is being made.
    services.store.write_new(record, staging)
    # Before the seed, which names the cards by the addresses that the backend gives them.
    record = replace(record, backend_data=backend.prepare(spec, base, staging))
    if spec.has_seed:
        make_seed(spec, files, record.instance_id, backend.machine(record, staging).macs())
    else:
        # No key is pinned: whoever comes to log in all the same has to trust the first one that is shown.
        with os_errors(files.home):
            write_private(files.known_hosts, b"")
    services.store.write_new(record, staging)
    return record


def _base_image(services: Services, spec: VmSpec) -> BaseImage:
    digest = None
    if spec.image.url:
        # In the cache, but for a `vmctl image prune` that came in between.
        found = fetch_image(services, spec)
        path, digest = found.path, found.digest
    else:
        path = Path(spec.image.path or "")
        require_image_file(path)
    with os_errors(path):
        status = path.stat()
    return BaseImage(
        path=str(path),
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        digest=digest,
        inode=status.st_ino,
        ctime_ns=status.st_ctime_ns,
    )
