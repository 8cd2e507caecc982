"""The backends there are, imported when one is used."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from vm_manager.diagnostics.errors import BackendNotAvailable
from vm_manager.domain.backend import Backend
from vm_manager.domain.names import closest

DEFAULT_BACKEND = "qemu"

_FACTORIES = {
    "qemu": "vm_manager.backends.qemu.backend:factory",
    "noop": "vm_manager.backends.noop.backend:factory",
}


def load_backend(name: str) -> Backend:
    """A backend by its name. Raises: `backend::not_available`."""
    if name not in _FACTORIES:
        near = closest(name, tuple(_FACTORIES))
        meant = (f"did you mean '{near}'?",) if near else ()
        raise BackendNotAvailable(
            "no such backend: '{name}'", {"name": name}, help=(*meant, f"the backends are {', '.join(_FACTORIES)}")
        )
    module, _, function = _FACTORIES[name].partition(":")
    return cast(Backend, getattr(import_module(module), function)())
