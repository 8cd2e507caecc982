"""What `vmctl down` is going to do, and what an edited VMFile means for a VM that exists."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import Any, cast

import pytest

from unit.samples import SHELL, full_spec, instance, spec
from vm_manager.domain.instance import Instance, Observation, VmState
from vm_manager.domain.plan import Action
from vm_manager.domain.spec import Drive, Effect, ImageSource, VmSpec
from vm_manager.planning.changes import changed_at_creation, changed_at_start, changed_drives, smaller_drives, startable
from vm_manager.planning.down import plan_down
from vm_manager.planning.reload import plan_reload
from vm_manager.vmfile.language import VM

_MIB = 1024**2
_RUNNING = {"web": instance()}
_STOPPED = {"web": instance(observed=VmState.STOPPED)}
_SAVED = {"web": instance(observed=Observation(VmState.SUSPENDED, saved=True))}
_PANICKED = {"web": instance(observed=Observation(VmState.FAILED, alive=True))}


@pytest.mark.parametrize(
    ("instances", "destroy", "line"),
    [
        (_RUNNING, False, "web: stop (running)"),
        (_PANICKED, False, "web: stop (running)"),
        (_STOPPED, False, "web: nothing (already stopped)"),
        ({}, False, "web: nothing (does not exist)"),
        (_RUNNING, True, "web: destroy (destroy requested)"),
        (_SAVED, True, "web: destroy (destroy requested)"),
        (_STOPPED, True, "web: destroy (destroy requested)"),
        ({}, True, "web: nothing (does not exist)"),
    ],
)
def test_down_stops_what_runs_and_with_destroy_removes_what_exists(
    instances: dict[str, Instance], destroy: bool, line: str
) -> None:
    plan = plan_down(["web"], instances, destroy=destroy)
    assert [str(operation) for operation in plan.operations] == [line]


def test_down_does_not_throw_away_what_a_saved_vm_has_in_memory() -> None:
    assert [str(operation) for operation in plan_down(["web"], _SAVED, destroy=False).operations] == [
        "web: restore (saved to disk)",
        "web: stop (saved to disk)",
    ]


@pytest.mark.parametrize(
    ("instances", "stops", "saved_state"),
    [(_RUNNING, True, False), (_PANICKED, True, False), (_STOPPED, False, False), (_SAVED, False, True)],
)
def test_a_plan_says_what_ends_with_a_vm_that_is_replaced_or_destroyed(
    instances: dict[str, Instance], stops: bool, saved_state: bool
) -> None:
    (replaced,) = [it for it in plan_reload([spec()], instances, ()).operations if it.action is Action.REPLACE]
    assert (replaced.stops, replaced.saved_state) == (stops, saved_state)
    (destroyed,) = plan_down(["web"], instances, destroy=True).operations
    assert destroyed.saved_state == saved_state


def test_an_unchanged_vm_has_no_changes() -> None:
    assert changed_at_start(full_spec(), full_spec()) == ()
    assert changed_at_creation(full_spec(), full_spec()) == ()


def test_a_drive_is_never_made_smaller_and_told_when_it_grows() -> None:
    old = replace(instance(observed=VmState.STOPPED), drives={"data": 50 * _MIB, "odd": 50_000_384})
    wanted = {"data": 20 * _MIB, "odd": 50_000_000, "new": _MIB}
    new = spec(drives=tuple(Drive(name=name, size_bytes=size) for name, size in wanted.items()))
    assert smaller_drives(old, new) == ((new.drives[0], 50 * _MIB),)
    grown = spec(drives=(Drive(name="data", size_bytes=1024 * _MIB), Drive(name="odd", size_bytes=50_000_000)))
    assert smaller_drives(old, grown) == ()
    assert changed_drives(old, grown)[-1] == "drive 'data' grows from 50 MiB to 1 GiB"


def test_other_provisioners_are_no_change_of_the_machine() -> None:
    assert changed_at_start(spec(), spec(provisioners=(SHELL,))) == ()
    assert changed_at_creation(spec(), spec(provisioners=(SHELL,))) == ()


def test_a_restart_takes_up_what_it_can_and_keeps_the_rest() -> None:
    old = spec()
    new = spec(
        vcpus=8,
        memory_mib=8192,
        boot_timeout_s=5,
        provisioners=(SHELL,),
        image=ImageSource(path="/other"),
        networks=(),
        disk_bytes=7,
        ssh=None,
    )
    assert startable(old, new) == spec(vcpus=8, memory_mib=8192, boot_timeout_s=5, provisioners=(SHELL,))


@pytest.mark.parametrize("field", fields(VmSpec), ids=lambda field: field.name)
def test_every_field_says_when_a_change_takes_effect_and_so_it_does(field: Field[Any]) -> None:
    old = full_spec()
    assert old.ssh
    marker = cast(Any, replace(old.ssh, user="other") if field.name == "ssh" else object())
    changed: dict[str, Any] = {field.name: marker}
    new = replace(old, **changed)
    effect, word = Effect(field.metadata["effect"]), field.metadata["word"]
    assert changed_at_creation(old, new) == ((word,) if effect is Effect.AT_CREATION else ())
    assert changed_at_start(old, new) == ((word,) if effect is Effect.AT_START else ())
    taken_up = getattr(startable(old, new), field.name) is marker
    assert taken_up is (effect is not Effect.AT_CREATION)


def test_the_port_of_sshd_is_taken_up_at_the_next_start() -> None:
    old = full_spec()
    assert old.ssh
    moved = replace(old, ssh=replace(old.ssh, port=old.ssh.port + 1))
    assert changed_at_creation(old, moved) == ()
    assert changed_at_start(old, moved) == ("port",)
    assert startable(old, moved).ssh == moved.ssh


def test_where_the_private_key_lies_is_taken_up_at_the_next_start() -> None:
    old = full_spec()
    assert old.ssh
    assert old.ssh.private_key
    user = replace(old.ssh, user="other", private_key="/keys/new")
    moved = replace(old, ssh=replace(old.ssh, private_key="/keys/new"))
    assert changed_at_creation(old, moved) == ()
    assert changed_at_start(old, moved) == ("private-key",)
    assert startable(old, moved).ssh == moved.ssh
    # What is in the guest stays; and a guest that was given a key of vmctl's own knows no other.
    assert startable(old, replace(old, ssh=user)).ssh == moved.ssh
    own = replace(old, ssh=replace(old.ssh, user="vm", private_key=None))
    assert changed_at_creation(own, moved) == ("ssh",)
    assert startable(own, moved).ssh == own.ssh


def test_every_word_of_the_language_has_a_field_that_says_so() -> None:
    words = {field.metadata["word"] for field in fields(VmSpec)}
    # A URL is an image.
    assert {entry.name for entry in VM.entries} - {"image-url"} <= words
