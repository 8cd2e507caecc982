"""The bridges of this host that a VM's cards are to be on: there, and open to this user, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vm_manager.app.holding import Vm
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import HostError, VmError
from vm_manager.diagnostics.model import Label
from vm_manager.domain.network import Network
from vm_manager.domain.plan import Action, Operation
from vm_manager.domain.spec import VmSpec
from vm_manager.host.tap import tap_obstacle, try_tap

if TYPE_CHECKING:
    from vm_manager.vmfile.load import Project


def require_bridges(
    services: Services, operations: Sequence[Operation], vm: Vm | None, project: Project | None
) -> None:
    """Make sure that a VM that is to be started gets its cards, by making each device for a moment.

    vm: None: it does not exist yet. Raises: `network::bridge_missing`, `host::permission_denied`, `host::missing_tool`, each with
    the line of the VMFile.
    """
    wanted = next((it.spec for it in operations if it.action is Action.START and it.spec), None)
    if vm and any(it.action is Action.RESTORE for it in operations):
        wanted = vm.record.spec
    if wanted is None or not wanted.bridges:
        return
    if not services.backend(vm.record.backend if vm else None).capabilities().guests:
        return
    for card in _one_of_each(wanted):
        try:
            try_tap(card.bridge or "")
        except VmError as error:
            error.enrich(labels=_labels(project, wanted, card))
            raise


def closed_bridges(services: Services, project: Project, specs: Sequence[VmSpec]) -> Iterator[HostError]:
    """What keeps cards of VMs from their bridges, as far as a look tells it; one failure for each bridge."""
    if not services.backend().capabilities().guests:
        return
    told: set[str | None] = set()
    for spec in specs:
        for card in _one_of_each(spec):
            if card.bridge not in told and (obstacle := tap_obstacle(card.bridge or "")):
                yield obstacle.enrich(labels=_labels(project, spec, card))
            told.add(card.bridge)


def _one_of_each(spec: VmSpec) -> list[Network]:
    return list({card.bridge: card for card in reversed(spec.networks) if card.bridge}.values())


def _labels(project: Project | None, spec: VmSpec, card: Network) -> tuple[Label, ...]:
    """Where the VMFile names the bridge: the spans in a record are of the file as it was."""
    now = next((it for it in project.specs if it.name == spec.name), None) if project else None
    named = next((it for it in now.networks if it.bridge == card.bridge), None) if now else None
    return (Label(project.source, named.span, "this bridge"),) if project and named and named.span else ()
