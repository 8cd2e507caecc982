"""What `vmctl console` needs: the VM's serial console, for one at a time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vm_manager.app.looking import look, require_able_to_run
from vm_manager.app.services import Services
from vm_manager.planning.table import Verb, cell


@contextmanager
def console(services: Services, name: str) -> Iterator[Callable[[], socket.socket]]:
    """Hold a VM's console; the block is given what connects to it, as often as it likes.

    Raises: `vm::not_found`, `vm::invalid_state` when it is not powered on, `state::locked` when somebody is there already,
    `backend::not_available` where there is no console.
    """
    instance = look(services, name)
    require_able_to_run(services, instance)
    cell(Verb.CONSOLE, instance)
    machine = services.machine(instance.record)
    with services.store.console_lock(name, f"vmctl console {name}"):
        yield machine.connect_console
