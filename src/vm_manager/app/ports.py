"""The ports of this host that a VM wants to be reached at: free before anything is made, and where the VMFile names them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from vm_manager.app.holding import Vm
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import HostError, VmError
from vm_manager.diagnostics.model import Label
from vm_manager.domain.network import Forward
from vm_manager.domain.plan import Action, Operation
from vm_manager.host.ports import first_refused, holder_pid

if TYPE_CHECKING:
    from vm_manager.vmfile.load import Project


def require_ports(services: Services, operations: Sequence[Operation], vm: Vm | None) -> None:
    """Make sure that a VM that is to be started gets its ports; those that it has itself are no obstacle.

    vm: None: it does not exist yet. Raises: `network::port_in_use`, `network::port_unavailable`.
    """
    wanted = next((it.spec.forwards for it in operations if it.action is Action.START and it.spec), ())
    if vm and any(it.action is Action.RESTORE for it in operations):
        wanted = vm.record.spec.forwards
    if wanted:
        # As of now, as `first_refused` looks now: while it waited for others it may have ended, and a program taken its ports.
        own = vm.machine.observe().forwards if vm else ()
        missing = [forward for forward in wanted if forward not in own]
        if refusal := first_refused(missing, lambda forward: _listener(services, forward)):
            raise refusal


def _listener(services: Services, taken: Forward) -> str | None:
    """The VM of ours that listens on a port, such as one that was renamed in the VMFile; None when it is none of them."""
    if (pid := holder_pid(taken)) is None:
        return None
    for name in services.store.names():
        with suppress(VmError):  # of a VM whose record is damaged nobody knows its ports
            if services.machine(services.store.read(name)).observe().pid == pid:
                return name
    return None


def point_at_forward(error: HostError, operations: Sequence[Operation], project: Project | None) -> None:
    """Add where the VMFile asks for the port."""
    specs = [operation.spec for operation in operations if operation.spec]
    port = error.diagnostic.args.get("port")
    forward = next((it for spec in specs for it in spec.forwards if it.host_port == port), None)
    if project and forward and forward.span:
        error.enrich(labels=(Label(project.source, forward.span, "this port"),))
