"""Whose VM: names are global, VMFiles are not. A VM belongs to the VMFile, or the command, that made it: its origin."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vm_manager.app.holding import Held
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import VmError, VmForeign
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.events import Noticed
from vm_manager.domain.instance import CREATED_BY_HAND, Instance
from vm_manager.vmfile.load import Project


def require_own(instances: Iterable[Instance], origin: Path) -> None:
    """Refuse to touch what was made elsewhere. Raises: `vm::foreign`."""
    for instance in instances:
        if instance.record.origin != str(origin):
            raise VmForeign(
                "VM '{name}' was created {how}, not from {here}",
                {
                    "name": instance.name,
                    "how": _made(instance.record.origin),
                    "origin": instance.record.origin,
                    "here": str(origin),
                },
                help=_ways_out(instance),
                subject=Subject(vm=instance.name),
            )


def adopt(services: Services, held: Held, origin: Path) -> None:
    """Make held VMs of other origins this VMFile's own."""
    for name, instance in held.instances.items():
        before = instance.record.origin
        if before == str(origin):
            continue
        record = replace(instance.record, origin=str(origin))
        services.store.write(record)
        services.emit(Noticed(name, f"adopted; it was created {_made(before)}"))
        held.instances[name] = replace(instance, record=record)


def orphans(services: Services, project: Project) -> Iterator[str]:
    """The VMs that were made from this VMFile, and which it defines no more."""
    defined = {spec.name for spec in project.specs}
    for name in services.store.names():
        if name in defined:
            continue
        try:
            record = services.store.read(name)
        except VmError:
            continue  # whoever asks for that VM is told; it says nothing about this VMFile
        if record.origin == str(project.path):
            yield name


def note_orphans(services: Services, project: Project, names: Sequence[str]) -> None:
    """Tell of them, unless only certain VMs were asked for."""
    for name in () if names else orphans(services, project):
        services.emit(
            Noticed(
                name,
                f"was created from {project.path.name}, which no longer defines it: `vmctl down --orphans` stops it",
            )
        )


def _ways_out(instance: Instance) -> tuple[str, ...]:
    name, origin = instance.name, instance.record.origin
    take_over = f"`vmctl up {name} --adopt`"
    if origin == CREATED_BY_HAND:
        its_own = f"or use the other one as it is: `vmctl start {name}`, `vmctl stop {name}`"
    elif os.path.lexists(origin):
        its_own = f"or use the other one with its own VMFile: `vmctl up --file {shlex.quote(origin)}`"
    else:
        return (
            f"{origin} is gone: if this VMFile is the same one, moved or renamed, take the VM over: {take_over}",
            f"if it is not, rename the VM in this VMFile; the other one is stopped with `vmctl stop {name}`",
        )
    return (f"rename the VM in this VMFile, or take the other one over: {take_over}", its_own)


def _made(origin: str) -> str:
    return "by `vmctl create`" if origin == CREATED_BY_HAND else f"from {origin}"
