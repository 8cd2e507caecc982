"""`list` and `status` for people."""

from __future__ import annotations

import pytest

from unit.golden import assert_golden
from unit.samples import full_spec, instance, spec
from vm_manager.domain.instance import Acceleration, Endpoint, LastFailure, Observation, Progress, Snapshot, VmState
from vm_manager.domain.spec import Accelerator
from vm_manager.ui.tables import list_lines, snapshot_lines, status_lines

_FAILURE = LastFailure("2026-01-02T03:04:05+00:00", "wait", "vm_manager::guest::boot_timeout", "too slow", ("a", "b"))
_BUSY = instance(
    full_spec(),
    Observation(VmState.RUNNING, True, 4711, Endpoint("127.0.0.1", 40022), "running"),
    progress=Progress(started=True, ready=True, done=("a",)),
    failure=_FAILURE,
    backend="qemu",
    acceleration=Acceleration(Accelerator.KVM, "KVM boots guests on this host"),
)


def test_columns_are_aligned_and_numbers_stand_to_the_right() -> None:
    other = instance(spec("a-very-long-name", memory_mib=65536), VmState.STOPPED)
    assert_golden("list.txt", "\n".join(list_lines([_BUSY, other])) + "\n")


def test_without_vms_there_is_only_the_head() -> None:
    assert list_lines([]) == ["NAME  STATE  BACKEND  VCPUS  MEM  NETWORK  PID  SSH"]


def test_a_failure_is_marked_and_leads_to_status() -> None:
    lines = list_lines([instance(), _BUSY])
    assert "running!" in lines[2]
    assert lines[-1] == "! marks a failure: see `vmctl status web`"


def test_status_tells_everything() -> None:
    assert_golden("status.txt", "\n".join(status_lines(_BUSY)) + "\n")


def test_status_of_a_vm_that_has_never_run() -> None:
    assert_golden("status-prepared.txt", "\n".join(status_lines(instance(observed=VmState.PREPARED))) + "\n")


def test_a_snapshot_that_cannot_be_gone_back_to_is_marked_and_says_why() -> None:
    when = "2026-01-02T03:04:05+00:00"
    whole = Snapshot(tag="new", created_at=when, memory_bytes=9 * 1024**2)
    old = Snapshot(tag="old", created_at=when, memory_bytes=0, without=("drive 'data'",))
    assert snapshot_lines([old, whole]) == [
        "TAG   CREATED                    MEMORY",
        f"old!  {when}  -",
        f"new   {when}  9 MiB",
        "",
        "! 'old' was taken without drive 'data'",
    ]
    assert len(snapshot_lines([whole])) == 2


@pytest.mark.parametrize(
    ("seen", "ready", "shown"),
    [
        (Observation(VmState.RUNNING, alive=True), True, "yes"),
        (Observation(VmState.RUNNING, alive=True), False, "not yet"),
        (Observation(VmState.SUSPENDED, alive=True), True, "no, until resumed"),
        (Observation(VmState.SUSPENDED, alive=True), False, "no"),
        (Observation(VmState.SUSPENDED, saved=True), True, "no, until resumed"),
        (Observation(VmState.FAILED, alive=True), True, "no"),
        (Observation(VmState.STOPPED), False, "no"),
    ],
)
def test_only_a_guest_that_runs_is_ready(seen: Observation, ready: bool, shown: str) -> None:
    lines = status_lines(instance(observed=seen, progress=Progress(started=True, ready=ready)))
    assert f"Ready:        {shown}" in lines
