"""What `vmctl screenshot` and `vmctl vnc` need. Takes no lock: a guest is looked at while it boots, too."""

from __future__ import annotations

from pathlib import Path

from vm_manager.app.looking import look, require_able_to_run
from vm_manager.app.services import Services
from vm_manager.domain.machine import Machine
from vm_manager.planning.table import Verb, cell


def picture(services: Services, name: str) -> bytes:
    """See `Manager.picture`."""
    return _machine(services, name, Verb.SCREENSHOT).picture()


def vnc_socket(services: Services, name: str) -> Path:
    """See `Manager.vnc_socket`."""
    return _machine(services, name, Verb.VNC).vnc_socket()


def _machine(services: Services, name: str, verb: Verb) -> Machine:
    instance = look(services, name)
    require_able_to_run(services, instance)
    cell(verb, instance)
    return services.machine(instance.record)
