"""vmctl's library: virtual machines from VMFiles, with diagnostics.

`Manager` is the connection: one per data directory. Failures are `VmError`s; their value is `VmError.diagnostic`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_manager.app.errors import last_error, reset_last_error, set_error_handler
    from vm_manager.app.manager import Manager
    from vm_manager.diagnostics.errors import VmError
    from vm_manager.diagnostics.model import Diagnostic

__all__ = ["Diagnostic", "Manager", "VmError", "last_error", "reset_last_error", "set_error_handler"]

_HOMES = {
    "Manager": "vm_manager.app.manager",
    "VmError": "vm_manager.diagnostics.errors",
    "Diagnostic": "vm_manager.diagnostics.model",
    "last_error": "vm_manager.app.errors",
    "reset_last_error": "vm_manager.app.errors",
    "set_error_handler": "vm_manager.app.errors",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: a command line that only shows its help must not load all of it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
