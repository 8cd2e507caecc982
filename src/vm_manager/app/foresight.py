"""What `up` would refuse, told by those who only look: `validate` and `plan`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vm_manager.app.bridges import closed_bridges
from vm_manager.app.places import image_labels
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.image import SizeLimits
from vm_manager.domain.spec import VmSpec
from vm_manager.images.accept import require_acceptable
from vm_manager.vmfile.load import Project


def refusals(services: Services, project: Project, specs: Sequence[VmSpec]) -> Iterator[VmError]:
    """What `up` would refuse, as far as a look tells it: of local images, and of the bridges of this host."""
    yield from unfit_images(services, project, specs)
    yield from closed_bridges(services, project, specs)


def unfit_images(services: Services, project: Project, specs: Iterable[VmSpec]) -> Iterator[VmError]:
    """What keeps local images from being the base of a disk, as far as their headers say it; one failure for each file."""
    if not services.backend().capabilities().guests:
        return
    for path, image in {it.image.path: it.image for it in reversed(tuple(specs)) if it.image.path}.items():
        try:
            require_acceptable(Path(path), SizeLimits.of(services.max_image_bytes))
        except VmError as error:
            yield error.enrich(labels=image_labels(project, image))
