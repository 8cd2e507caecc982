"""The groups of a QEMU's methods that not every backend has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.pid_file import lock_owner

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vm_manager.backends.qemu.children import Children
    from vm_manager.domain.capabilities import BackendData
    from vm_manager.domain.deadline import CancelToken
    from vm_manager.domain.events import EventSink
    from vm_manager.domain.instance import InstanceRecord, Snapshot


class _Group:
    """An optional group of a machine's methods."""

    def __init__(self, record: InstanceRecord, home: Path, children: Children) -> None:
        self._record, self._home, self._files, self._children = record, home, QemuFiles(home), children


class QemuSavedState(_Group):
    """See `SavedState` for the contract of each method."""

    def save(self, cancel: CancelToken, emit: EventSink) -> int:
        from vm_manager.backends.qemu.saved_state import save
        from vm_manager.state.files import written_bytes

        save(self._record, self._files, cancel, emit)
        self._children.reap(self._home)
        return written_bytes(self._files.saved_state)

    def restore(self, cancel: CancelToken, emit: EventSink) -> BackendData:
        from vm_manager.backends.qemu.saved_state import restore

        with self._children.dropping_ended(self._home):
            keep = self._children.keeper_of(self._home)
            return restore(self._record, self._files, cancel, emit, keep).plain()

    def discard(self) -> int:
        from vm_manager.backends.qemu.saved_state import discard

        return discard(self._files)


class QemuSnapshots(_Group):
    """See `Snapshots` for the contract of each method."""

    def all(self) -> tuple[Snapshot, ...]:
        from vm_manager.backends.qemu.snapshots import snapshots

        return snapshots(self._record, self._files)

    def create(self, tag: str, cancel: CancelToken) -> None:
        from vm_manager.backends.qemu.snapshots import create

        create(self._record, self._files, tag, cancel)

    def restore(self, tag: str, cancel: CancelToken) -> BackendData:
        from vm_manager.backends.qemu.snapshots import restore

        with self._children.dropping_ended(self._home):
            return restore(self._record, self._files, tag, cancel, self._children.keeper_of(self._home)).plain()

    def delete(self, tag: str, cancel: CancelToken) -> None:
        from vm_manager.backends.qemu.snapshots import delete

        delete(self._record, self._files, tag, cancel)


class QemuMigration(_Group):
    """See `Migration` for the contract of each method."""

    def move(
        self,
        target: InstanceRecord,
        staging: Path,
        switch: Callable[[BackendData], AbstractContextManager[None]],
        cancel: CancelToken,
        emit: EventSink,
    ) -> None:
        from vm_manager.backends.qemu.disks import prepare_copies
        from vm_manager.backends.qemu.move import move

        files = QemuFiles(staging)
        prepare_copies(target.spec, target.base_image, files, self._files)
        with self._children.dropping_ended(staging):
            move(self._record, self._files, target, files, switch, cancel, emit, self._children.keeper_of(staging))

    def abandon(self) -> None:
        from vm_manager.backends.qemu.monitor import Monitor
        from vm_manager.backends.qemu.move import stay

        if lock_owner(self._files.pid) is not None:
            with Monitor(self._home) as monitor:
                stay(monitor)
