"""Machines that are powered on and yet stand still, because QEMU or the guest's kernel stopped them."""

from __future__ import annotations

from pathlib import Path

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import VmError
from vm_manager.domain.instance import Instance, VmState


def incident_of(services: Services, instance: Instance) -> VmError | None:
    """What has stopped a machine that is powered on, such as a panic or a full disk; None when nothing has."""
    if not instance.alive or instance.state is not VmState.FAILED:
        return None
    incident = services.backend(instance.record.backend).incident(instance.record, Path(instance.home))
    return incident.error.enrich(subject=services.subject(instance.name)) if incident else None
