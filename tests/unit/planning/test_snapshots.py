"""From where a VM is, which of its snapshots can be made, gone back to and removed."""

from __future__ import annotations

import pytest

from unit.samples import instance
from vm_manager.diagnostics.errors import InvalidState, Usage
from vm_manager.domain.instance import ROOT_DISK, UEFI_VARIABLES, Observation, Snapshot, VmState
from vm_manager.planning.snapshots import require_fitting, require_tag
from vm_manager.planning.table import Verb

_WHEN = "2026-01-02T03:04:05+00:00"
_KEPT = (
    Snapshot(tag="memory", created_at=_WHEN, memory_bytes=100),
    Snapshot(tag="disks", created_at=_WHEN, memory_bytes=0),
)
_INSTANCES = {
    "stopped": instance(observed=VmState.STOPPED),
    "running": instance(observed=VmState.RUNNING),
    "suspended": instance(observed=VmState.SUSPENDED),
    "saved": instance(observed=Observation(VmState.SUSPENDED, saved=True)),
    "io-error": instance(observed=Observation(VmState.FAILED, alive=True, resumable=True)),
    "panicked": instance(observed=Observation(VmState.FAILED, alive=True)),
}
# Refused, with this in the first line of the help.
_REFUSED = {
    ("create", "saved", "new"): "`vmctl resume web`",
    ("create", "io-error", "new"): "`vmctl status web`",
    ("create", "panicked", "new"): "`vmctl restart web`",
    ("restore", "saved", "memory"): "`vmctl resume web`",
    ("restore", "saved", "disks"): "`vmctl resume web`",
    ("restore", "running", "disks"): "`vmctl stop web`",
    ("restore", "suspended", "disks"): "`vmctl stop web`",
    ("restore", "io-error", "disks"): "`vmctl stop web`",
    ("restore", "panicked", "disks"): "`vmctl stop web`",
}


@pytest.mark.parametrize("where", _INSTANCES)
@pytest.mark.parametrize(
    ("verb", "tag"), [("create", "new"), ("restore", "memory"), ("restore", "disks"), ("delete", "disks")]
)
def test_every_cell(verb: str, where: str, tag: str) -> None:
    refused = _REFUSED.get((verb, where, tag))
    arguments = (Verb(f"snapshot {verb}"), _INSTANCES[where], _KEPT, tag)
    if refused is None:
        require_fitting(*arguments)
        return
    with pytest.raises(InvalidState) as caught:
        require_fitting(*arguments)
    assert refused in caught.value.diagnostic.help[0]
    assert caught.value.diagnostic.subject.vm == "web"


def test_a_tag_is_given_once() -> None:
    with pytest.raises(InvalidState, match="already has a snapshot 'disks'"):
        require_fitting(Verb.SNAPSHOT_CREATE, _INSTANCES["running"], _KEPT, "disks")


@pytest.mark.parametrize(
    ("without", "detached", "message", "help"),
    [
        (
            ("drive 'data'",),
            ("drive 'db'",),
            "snapshot 'old' was taken without drive 'data' and with drive 'db', not attached now",
            "remove drive 'data' from the VMFile, which keeps the disk, define drive 'db' in the VMFile again; "
            "run `vmctl down web` and `vmctl up web`, then restore it",
        ),
        (
            (),
            (UEFI_VARIABLES,),
            "snapshot 'old' was taken with the UEFI variables, not attached now",
            'write `firmware "uefi"` in the VMFile; run `vmctl down web` and `vmctl up web`, then restore it',
        ),
        (
            ("drive 'data'", "drive 'logs'"),
            (),
            "snapshot 'old' was taken without drive 'data' and drive 'logs'",
            "remove drive 'data' and drive 'logs' from the VMFile, which keeps the disk; run `vmctl down web` and "
            "`vmctl up web`, then restore it",
        ),
        (
            (UEFI_VARIABLES,),
            (),
            "snapshot 'old' was taken without the UEFI variables",
            'write `firmware "bios"` in the VMFile; run `vmctl down web` and `vmctl up web`, then restore it',
        ),
        (
            (ROOT_DISK, "drive 'data'"),
            (),
            "snapshot 'old' was taken without the present root disk and drive 'data'",
            "the disk that it was taken with was replaced; delete it: `vmctl snapshot delete web old`",
        ),
    ],
)
def test_a_snapshot_that_not_all_disks_are_in_is_not_gone_back_to_and_can_be_deleted(
    without: tuple[str, ...], detached: tuple[str, ...], message: str, help: str
) -> None:
    kept = (Snapshot(tag="old", created_at=_WHEN, memory_bytes=0, without=without, detached=detached),)
    with pytest.raises(InvalidState) as caught:
        require_fitting(Verb.SNAPSHOT_RESTORE, _INSTANCES["stopped"], kept, "old")
    assert (caught.value.diagnostic.message, caught.value.diagnostic.help) == (message, (help,))
    with pytest.raises(InvalidState, match="already has a snapshot 'old'"):
        require_fitting(Verb.SNAPSHOT_CREATE, _INSTANCES["stopped"], kept, "old")
    require_fitting(Verb.SNAPSHOT_DELETE, _INSTANCES["stopped"], kept, "old")


@pytest.mark.parametrize("verb", [Verb.SNAPSHOT_RESTORE, Verb.SNAPSHOT_DELETE])
def test_an_unknown_tag_is_named_with_the_one_that_was_meant(verb: Verb) -> None:
    with pytest.raises(InvalidState) as caught:
        require_fitting(verb, _INSTANCES["stopped"], _KEPT, "memroy")
    assert caught.value.diagnostic.help == (
        "did you mean 'memory'?",
        "`vmctl snapshot list web` lists its snapshots",
    )


@pytest.mark.parametrize("tag", ["a", "before-upgrade", "v1.2_3", "a" * 63])
def test_tags(tag: str) -> None:
    require_tag(tag)


@pytest.mark.parametrize("tag", ["", "1", "-a", "a b", "a/b", "ä", "a\n", "a" * 64])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(Usage):
        require_tag(tag)
