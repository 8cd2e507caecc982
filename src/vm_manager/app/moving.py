"""A VM on its way to another data directory: what marks it, and how a move that was killed is finished or undone.

At every moment one of the two directories is the VM: the source until the target appears under its name, which is one
rename(2), and the target from then on. A marker in each says where the other is to be looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import IoFailed, StateLocked, VmNotFound
from vm_manager.diagnostics.model import Subject
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.instance import InstanceRecord, VmState
from vm_manager.domain.owners import read_own
from vm_manager.state.files import write_atomically
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore

_PATH_BYTES = 4096

#: Takes the VM's lock in a data directory.
Lock = Callable[[Services], AbstractContextManager[object]]


def below(services: Services, root: Path) -> Services:
    """The same services with another data directory."""
    return replace(services, store=InstanceStore(DataDir(root)))


def moving_to(home: Path) -> Path:
    """The marker with the data directory that a VM is being moved to; while it exists, look there first."""
    return home / "moving-to"


def moved_from(home: Path) -> Path:
    """The marker with the data directory that a VM has come from, where its leftovers have still to be removed."""
    return home / "moved-from"


@contextmanager
def leaving(source: Services, target: Services, record: InstanceRecord) -> Iterator[None]:
    """Mark the VM as one that may be in either directory. The mark stays when the VM has arrived: `finish` removes it."""
    marker = moving_to(source.home(record.name))
    write_atomically(marker, bytes(target.store.data.root))
    try:
        yield
    except BaseException:
        if not _has_arrived(target, record):
            with os_errors(marker):
                marker.unlink(missing_ok=True)
        raise


def mark_arriving(source: Services, staging: Path) -> None:
    """Mark what is made in the target's directory as having come from the source."""
    write_atomically(moved_from(staging), bytes(source.store.data.root))


def finish(source: Services, target: Services, record: InstanceRecord) -> None:
    """Remove what the source still has of a VM that has arrived in the target. Raises: `host::permission_denied`, `io`."""
    source.machine(record).destroy()
    source.store.remove(record.name)
    marker = moved_from(target.home(record.name))
    with os_errors(marker):
        marker.unlink(missing_ok=True)


def end_arriving(services: Services, vm: str) -> None:
    """End a machine that was waiting here for a VM to be moved to it: it never ran. The caller holds the VM's lock."""
    with suppress(VmNotFound):
        record, home, state = services.store.read_leftovers(vm)
        if state is not VmState.DESTROYED:
            services.backend(record.backend).machine(record, home).destroy()


def settle(services: Services, vm: str, lock: Lock) -> Iterator[str]:
    """Finish or undo a move that a killed command has left; the caller holds the VM's lock. Yields a line for each finding.

    lock: takes the VM's lock in the other directory.
    Raises: `io` when the other data directory is not there: nobody can tell then which of the two is the VM.
    """
    home = services.home(vm)
    if (root := _read(moving_to(home))) is not None:
        yield _settle_source(services, below(services, root), vm, lock)
    elif (root := _read(moved_from(home))) is not None and root.is_dir():
        _settle_target(below(services, root), services, vm, lock)


def _settle_source(source: Services, target: Services, vm: str, lock: Lock) -> str:
    record, marker, root = source.store.read(vm), moving_to(source.home(vm)), target.store.data.root
    if not root.is_dir():
        raise IoFailed(
            "{path}, to which the VM was being moved, does not exist",
            {"path": str(root)},
            help=(
                f"mount it; if it is gone for good and the VM in this directory is the one to keep: `rm '{marker}'`",
            ),
            subject=Subject(vm=vm),
        )
    # Ends the QEMU that waits there, unless somebody is just now working on a VM of that name.
    with suppress(StateLocked), lock(target):
        pass
    if _has_arrived(target, record):
        finish(source, target, record)
        return f"finished an interrupted move to {root}: removed the leftovers here"
    source.machine(record).migration().abandon()
    with os_errors(marker):
        marker.unlink()
    return f"undid an interrupted move to {root}; the VM is still here"


def _settle_target(source: Services, target: Services, vm: str, lock: Lock) -> None:
    marker = moved_from(target.home(vm))
    try:
        # Settles what is left there, and clears away what was being removed.
        with lock(source), os_errors(marker):
            marker.unlink(missing_ok=True)
    except StateLocked:
        return  # whoever works on it there settles it


def _has_arrived(target: Services, record: InstanceRecord) -> bool:
    """Whether the VM is in the target. Raises: `state::corrupt`: then nobody can tell."""
    name = record.name
    return target.store.exists(name) and target.store.read(name).instance_id == record.instance_id


def _read(marker: Path) -> Path | None:
    with os_errors(marker):
        try:
            return Path(os.fsdecode(read_own(marker, _PATH_BYTES)))
        except FileNotFoundError:
            return None
