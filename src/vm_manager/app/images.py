"""`vmctl image`: the cache and the image files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vm_manager.app.base_image import require_base
from vm_manager.app.output_file import require_place
from vm_manager.app.progress import download_progress
from vm_manager.app.services import Services
from vm_manager.app.steps import told
from vm_manager.diagnostics.errors import CreateImageNotFound, ImageError, InvalidState, Usage, VmError, VmNotFound
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.diagnostics.urls import cut_url
from vm_manager.domain.image import CachedImage, ImageReport, SizeLimits
from vm_manager.domain.names import closest
from vm_manager.domain.oci_reference import is_oci
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.domain.spec import ImageSource
from vm_manager.host.disk_space import spare_of
from vm_manager.host.image_header import RAW
from vm_manager.host.qemu_img import backing_chain, convert, foreign_size, image_info
from vm_manager.host.regular_file import require_image_file
from vm_manager.images.accept import require_disk
from vm_manager.images.cache import ImageCache, name_of
from vm_manager.images.download import local_path
from vm_manager.images.http import redacted
from vm_manager.images.oci.source import reference_of
from vm_manager.state.files import written_bytes
from vm_manager.state.layout import InstanceFiles
from vm_manager.vmfile import forms


@dataclass(frozen=True)
class Pulled:
    """fetched: whether it was not in the cache before."""

    image: CachedImage
    fetched: bool


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be. leftovers: files of downloads that were broken off."""

    images: tuple[CachedImage, ...]
    leftovers: tuple[str, ...]
    freed_bytes: int
    dry_run: bool


def pull(services: Services, url: str, *, name: str, sha256: str | None, sha512: str | None) -> Pulled:
    """Put an image into the cache. url: or the path of a file.

    Raises: `image::download_failed`, `oci::pull_failed`, `image::checksum_mismatch`, `image::refused`, `image::too_large`,
    `vmctl::usage`.
    """
    image = image_from(url, sha256, sha512)
    wanted = image.url or ""
    cache = ImageCache(services.store.data.images, sizes=SizeLimits.of(services.max_image_bytes))
    subject = name or name_of(wanted)
    step = told(services, subject, "fetch", Done(Action.FETCH, source=redacted(wanted)))
    with step as current, download_progress(services, subject, "fetch") as progress:
        found = cache.fetch(image, progress, services.cancel, name=name)
        current.done = replace(current.done, from_cache=not found.fetched)
    described = next(one for one in listed(services)[0] if one.path == str(found.path))
    return Pulled(described, found.fetched)


def listed(services: Services) -> tuple[tuple[CachedImage, ...], tuple[VmError, ...]]:
    """The images of the cache with the VMs that use them, and why VMs cannot be asked."""
    users, failures = _users(services, look_at_disks=False)
    images = ImageCache(services.store.data.images).images()
    return tuple(_with_users(image, users) for image in images), failures


def inspect(services: Services, reference: str) -> ImageReport:
    """What an image file is. reference: a path, or a URL, name or digest of the cache.

    Raises: `vmctl::create::image_not_found`, `image::format_detection_failed`.
    """
    users, _ = _users(services, look_at_disks=True)
    cached = _in_cache(services, reference)
    path = Path(cached.path) if cached else _existing(services, reference)
    foreign = foreign_size(path)
    format, size = foreign or _format_and_size(path)
    with os_errors(path):
        taken = written_bytes(path)
    return ImageReport(
        path=str(path),
        format=format,
        size_bytes=taken,
        virtual_size_bytes=size,
        chain=() if foreign else tuple(map(str, backing_chain(path))),
        cached=_with_users(cached, users) if cached else None,
        used_by=users.get(path.resolve(), ()),
    )


def _format_and_size(path: Path) -> tuple[str, int]:
    info = image_info(path)
    if info.format == RAW:
        require_disk(path, known_only=True)
    return info.format, info.virtual_size_bytes


def convert_image(services: Services, reference: str, target: Path, *, format: str, compress: bool) -> ImageReport:
    """Write an image, or a VM's disk with its image, as a file of another format.

    It appears complete; a file that is there is not replaced. As much of the file system stays free as `pull` leaves.
    Raises: `image::conversion_failed`, `host::disk_full`, `image::refused` for any other image that refers to another file,
    `image::format_detection_failed`, `vmctl::create::image_not_found`, `vmctl::usage`.
    """
    if compress and format != "qcow2":
        raise Usage("only qcow2 can be compressed, not {format}", {"format": format}, help=("remove `--compress`",))
    require_place(target)
    cache = ImageCache(services.store.data.images)
    with cache.using(services.cancel):
        cached = _in_cache(services, reference)
        source = Path(cached.path) if cached else _existing(services, reference)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with told(services, target.name, "convert", Done(Action.CONVERT, to=format)):
                below = None if cached else _below(services, source)
                if not cached and below is None and foreign_size(source) is None:
                    _format_and_size(source)
                with os_errors(target):
                    spare = spare_of(part.parent, str(target))
                size = convert(
                    source, part, format=format, compress=compress, below=below, spare=spare, cancel=services.cancel
                )
            with os_errors(target):
                part.rename(target)
                taken = written_bytes(target)
        except VmError as error:
            raise error.told_of(str(part), str(target)) from error.__cause__
        finally:
            with suppress(OSError):  # where it could not be made it cannot be removed
                part.unlink(missing_ok=True)
    return ImageReport(path=str(target.absolute()), format=format, size_bytes=taken, virtual_size_bytes=size)


def _below(services: Services, disk: Path) -> tuple[Path, str] | None:
    """The path and the format of the image that a disk stands on which is a VM's, by its record and not by what it says."""
    for name in services.store.names():
        overlay = services.store.files(name).overlay
        if overlay.exists() and overlay.samefile(disk):
            record = services.store.read(name)
            require_base(services, record)
            base = Path(record.base_image.path)
            return base, record.base_image.format or image_info(base).format
    return None


def remove(services: Services, references: Sequence[str]) -> tuple[CachedImage, ...]:
    """Remove images from the cache: all of them, or none.

    Raises: `vmctl::create::image_not_found`, `vm::invalid_state` for one that a VM's disk stands on; and what keeps a VM's
    disk from being looked at.
    """
    cache = ImageCache(services.store.data.images)
    with cache.removing(services.cancel):
        users = _all_users(services)
        images = [_with_users(_required(services, reference), users) for reference in dict.fromkeys(references)]
        for image in images:
            if image.used_by:
                raise InvalidState(
                    "the disk of VM '{vm}' depends on the image {name}",
                    {"vm": image.used_by[0], "name": image.name},
                    help=(
                        "keep it as long as there is that VM; `vmctl image prune` removes the images that no VM needs",
                    ),
                    subject=Subject(vm=image.used_by[0]),
                )
        for image in images:
            cache.remove(image)
    return tuple(images)


def prune(services: Services, *, dry_run: bool) -> Pruned:
    """Remove the images that no VM's disk stands on, and what broken off downloads have left.

    Raises: what keeps a VM's disk from being looked at; nothing is removed then.
    """
    cache = ImageCache(services.store.data.images)
    with cache.removing(services.cancel):
        users = _all_users(services)
        unused = tuple(image for image in cache.images() if Path(image.path).resolve() not in users)
        freed = sum(image.size_bytes for image in unused)
        leftovers = []
        for path in cache.leftovers():
            with os_errors(path):
                size = path.stat().st_blocks * 512
            if dry_run or cache.remove_leftover(path):
                leftovers.append(str(path))
                freed += size
        if not dry_run:
            for image in unused:
                cache.remove(image)
    return Pruned(unused, tuple(leftovers), freed, dry_run)


def image_from(url: str, sha256: str | None, sha512: str | None) -> ImageSource:
    """The image at a URL, or a path. Raises: `vmctl::usage`, `vmctl::create::image_not_found`, `image::refused`."""
    for option, value, form in (("--sha256", sha256, forms.SHA256), ("--sha512", sha512, forms.SHA512)):
        if value is not None and not form.check(value):
            raise Usage(
                "{option} takes {form}", {"option": option, "form": form.title}, help=(form.advice(value) or _COPY,)
            )
    if "://" not in url:
        path = Path(url).absolute()
        if not path.exists():
            raise _no_such_file(url, path)
        require_image_file(path)
        url = path.as_uri()
    elif is_oci(url):
        reference_of(url)
    elif not url.startswith("file:///") and not forms.IMAGE_URL.check(url):
        raise Usage("{url} is not a complete URL", {"url": redacted(url)}, help=(_NAME_IT,))
    return ImageSource(url=url, sha256=sha256, sha512=sha512)


def _no_such_file(text: str, path: Path) -> CreateImageNotFound:
    """Neither a URL nor a file: a name as other tools take it, a URL without its scheme, or a path that is wrong."""
    host, slash, _ = text.partition("/")
    if not slash and "." not in text:
        return CreateImageNotFound("'{name}' is neither a URL nor a file", {"name": text}, help=(_NO_NAMES, _NAME_IT))
    if slash and "." in host.strip("."):
        return CreateImageNotFound(
            "'{name}' is neither a URL nor a file", {"name": text}, help=(f"did you mean https://{cut_url(text)}?",)
        )
    return CreateImageNotFound("the file {path} does not exist", {"path": str(path)}, help=(_NAME_IT,))


_NO_NAMES = (
    "vmctl has no images by name: Debian's, for example, are at https://cloud.debian.org/images/cloud/, "
    "and Ubuntu's at https://cloud-images.ubuntu.com/"
)
_COPY = "copy it from the publisher's list of checksums"
_NAME_IT = "use a complete URL, https://…/disk.qcow2 or oci://registry/repository:tag, or the path of a file"


def _required(services: Services, reference: str) -> CachedImage:
    """An image of the cache. Raises: `vmctl::create::image_not_found`, `vmctl::usage`."""
    found = _in_cache(services, reference)
    if found is None:
        raise _not_found(services, reference, "no cached image is named '{name}'")
    return found


def _in_cache(services: Services, reference: str) -> CachedImage | None:
    """The image of the cache that a name, URL, digest or path means. Raises: `vmctl::usage` when several are so named."""
    cache = ImageCache(services.store.data.images)
    images = cache.images()
    path = Path(reference).absolute()
    if "://" in reference:
        known = cache.find(ImageSource(url=reference)) if _can_be_found(reference) else None
        found = [image for image in images if known is not None and image.path == str(known.path)]
    else:
        found = [
            image
            for image in images
            if reference in (image.digest, *(origin.name for origin in image.origins)) or image.path == str(path)
        ]
    if len(found) > 1:
        raise Usage(
            "{count} images are named '{name}'",
            {"count": len(found), "name": reference},
            help=(f"use the digest of one: {', '.join(image.digest or image.path for image in found)}",),
        )
    return found[0] if found else None


def _can_be_found(url: str) -> bool:
    return not url.startswith("file:") or local_path(url).exists()


def _existing(services: Services, reference: str) -> Path:
    """A file. Raises: `vmctl::create::image_not_found`, `image::refused`."""
    path = Path(reference)
    if "://" in reference or not path.exists():
        raise _not_found(services, reference, "no file and no cached image is named '{name}'")
    require_image_file(path)
    return path.absolute()


def _not_found(services: Services, reference: str, template: str) -> CreateImageNotFound:
    images = ImageCache(services.store.data.images).images()
    names = tuple(origin.name for image in images for origin in image.origins)
    near = closest(reference, names)
    meant = (f"did you mean '{near}'?",) if near else ()
    shown = redacted(reference) if "://" in reference else reference
    return CreateImageNotFound(
        template, {"name": shown}, help=(*meant, "run `vmctl image list` to see all cached images")
    )


def _with_users(image: CachedImage, users: dict[Path, tuple[str, ...]]) -> CachedImage:
    return replace(image, used_by=users.get(Path(image.path).resolve(), ()))


def _all_users(services: Services) -> dict[Path, tuple[str, ...]]:
    """The files that VMs' disks stand on. Raises: what keeps any one VM from being looked at."""
    users, failures = _users(services, look_at_disks=True)
    if failures:
        raise failures[0].enrich(notes=("no image was removed: a VM whose disk cannot be read may use any of them",))
    return users


def _users(services: Services, *, look_at_disks: bool) -> tuple[dict[Path, tuple[str, ...]], tuple[VmError, ...]]:
    """By file, the VMs whose disks stand on it; and why others could not be looked at.

    look_at_disks: not only at the records: what the disks themselves name counts, too.
    """
    users: dict[Path, list[str]] = {}
    failures: list[VmError] = []
    for name in services.store.names():
        try:
            below = [Path(services.store.read(name).base_image.path)]
            if look_at_disks and (overlay := services.store.files(name).overlay).exists():
                below += backing_chain(overlay)
        except VmNotFound:
            continue  # destroyed while we looked
        except ImageError as error:
            failures.append(error.enrich(subject=Subject(vm=name)))
            continue
        except VmError as error:
            failures.append(error)
            continue
        for path in dict.fromkeys(path.resolve() for path in below):
            users.setdefault(path, []).append(name)
    store = services.store
    for home in (*store.unnamed(), *map(store.data.home, store.foreign())) if look_at_disks else ():
        # A VM that is prepared to take the place of another, or one whose record is lost. What a crash has left half made
        # stands on nothing.
        overlay = InstanceFiles(home).overlay
        with suppress(ImageError):
            for path in backing_chain(overlay) if overlay.exists() else ():
                users.setdefault(path.resolve(), []).append(home.name)
    return {path: tuple(names) for path, names in users.items()}, tuple(failures)
