"""Where the VMFile asks for what fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.diagnostics.model import Label
from vm_manager.domain.spec import ImageSource, VmSpec

if TYPE_CHECKING:
    from vm_manager.vmfile.load import Project


def image_labels(project: Project | None, image: ImageSource) -> tuple[Label, ...]:
    """The image in the VMFile; nothing where the VM comes from none."""
    return (Label(project.source, image.span, "this image"),) if project and image.span else ()


def user_labels(project: Project | None, spec: VmSpec) -> tuple[Label, ...]:
    """The user in the VMFile, for a login that is at fault; nothing where it names none."""
    span = spec.ssh.span if spec.ssh else None
    return (Label(project.source, span, "this user"),) if project and span else ()
