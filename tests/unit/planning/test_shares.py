"""What cannot be done with a VM that has shared directories, and what can."""

from __future__ import annotations

import pytest

from unit.samples import instance, spec
from vm_manager.diagnostics.errors import InvalidState
from vm_manager.domain.instance import Instance, Snapshot, VmState
from vm_manager.domain.share import Mount
from vm_manager.planning.lifecycle import plan_lifecycle
from vm_manager.planning.migrate import require_movable
from vm_manager.planning.snapshots import require_fitting
from vm_manager.planning.table import Verb

_SHARED = spec(mounts=(Mount(source="/home/me/src", target="/srv/src", read_only=True),))
_WITH_MEMORY = Snapshot(tag="full", created_at="2026-01-02T03:04:05+00:00", memory_bytes=1)
_DISKS = Snapshot(tag="disks", created_at="2026-01-02T03:04:05+00:00", memory_bytes=0)


def _sharing(state: VmState = VmState.RUNNING) -> Instance:
    return instance(_SHARED, state)


@pytest.mark.parametrize("state", [VmState.RUNNING, VmState.SUSPENDED])
def test_it_is_neither_saved_nor_snapshotted_while_it_is_on(state: VmState) -> None:
    with pytest.raises(InvalidState) as saving:
        plan_lifecycle(Verb.SAVE, _sharing(state), guests=True)
    assert saving.value.diagnostic.message == "VM 'web' cannot be saved to disk: it has shared directories"
    assert saving.value.diagnostic.notes == (
        "QEMU cannot save what the guest has open in them: /home/me/src on /srv/src (read-only)",
    )
    with pytest.raises(InvalidState):
        require_fitting(Verb.SNAPSHOT_CREATE, _sharing(state), (), "new")


def test_it_is_not_migrated_and_does_not_go_back_to_a_snapshot_with_memory() -> None:
    with pytest.raises(InvalidState):
        require_movable(_sharing(), ())
    with pytest.raises(InvalidState):
        require_fitting(Verb.SNAPSHOT_RESTORE, _sharing(VmState.STOPPED), (_WITH_MEMORY,), "full")


def test_it_is_paused_and_its_disks_are_snapshotted_while_it_is_off() -> None:
    assert plan_lifecycle(Verb.SUSPEND, _sharing(), guests=True).operations
    require_fitting(Verb.SNAPSHOT_CREATE, _sharing(VmState.STOPPED), (), "new")
    require_fitting(Verb.SNAPSHOT_RESTORE, _sharing(VmState.STOPPED), (_DISKS,), "disks")
    require_fitting(Verb.SNAPSHOT_DELETE, _sharing(), (_WITH_MEMORY,), "full")
