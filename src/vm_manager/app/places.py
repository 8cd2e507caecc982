"""Where the VMFile asks for what fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.diagnostics.model import Label
from vm_manager.domain.spec import ImageSource

if TYPE_CHECKING:
    from vm_manager.vmfile.load import Project


def image_labels(project: Project | None, image: ImageSource) -> tuple[Label, ...]:
    """The image in the VMFile; nothing where the VM comes from none."""
    return (Label(project.source, image.span, "this image"),) if project and image.span else ()
