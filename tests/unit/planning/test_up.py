"""What `vmctl up` is going to do, as the lines that a person would read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from unit.samples import SHELL, instance, spec
from vm_manager.domain.instance import Instance, LastFailure, Observation, Progress, VmState
from vm_manager.domain.network import Network
from vm_manager.domain.plan import Action, WaitFor
from vm_manager.domain.spec import (
    Accelerator,
    CloudInit,
    ImageSource,
    Provisioner,
    ProvisionerKind,
    SshAccess,
    VmSpec,
)
from vm_manager.planning.up import plan_up

_URL = "https://example.org/debian.qcow2"


def _plan(wanted: VmSpec | list[VmSpec], *there: Instance, cached: Collection[str] = (), **options: Any) -> list[str]:
    specs = wanted if isinstance(wanted, list) else [wanted]
    plan = plan_up(specs, {one.name: one for one in there}, cached, **options)
    return [str(operation) for operation in plan.operations]


def test_a_new_vm_is_made_started_and_waited_for() -> None:
    assert _plan(spec()) == [
        "web: create (does not exist)",
        "web: start (new)",
        "web: wait (starting)",
    ]


def test_its_provisioners_come_last() -> None:
    assert _plan(spec(provisioners=(SHELL, SHELL)))[2:] == [
        "web: wait (starting)",
        "web: provision (2 of 2 steps to run)",
    ]


def test_an_image_that_is_not_in_the_cache_is_fetched_first() -> None:
    assert _plan(spec(image=ImageSource(url=_URL)))[:2] == [
        "web: fetch (image not in the cache)",
        "web: create (does not exist)",
    ]


def test_a_cached_image_is_not_fetched() -> None:
    assert _plan(spec(image=ImageSource(url=_URL)), cached={_URL})[0] == "web: create (does not exist)"


def test_the_image_of_a_vm_that_exists_is_not_fetched() -> None:
    wanted = spec(image=ImageSource(url=_URL))
    assert _plan(wanted, instance(wanted)) == ["web: nothing (already running)"]


@pytest.mark.parametrize("state", [VmState.STOPPED, VmState.PREPARED])
def test_a_vm_that_does_not_run_is_started_and_provisioned_from_the_first_step(state: VmState) -> None:
    wanted = spec(provisioners=(SHELL, SHELL))
    there = instance(wanted, state, progress=Progress(started=True, ready=True, done=(SHELL.identity, SHELL.identity)))
    assert _plan(wanted, there) == [
        f"web: start ({state})",
        "web: wait (starting)",
        "web: provision (2 of 2 steps to run)",
    ]


def test_a_saved_vm_is_restored_and_goes_on_with_its_provisioners_where_it_was() -> None:
    wanted = spec(provisioners=(SHELL, SHELL))
    saved = Observation(VmState.SUSPENDED, saved=True)
    there = instance(wanted, saved, progress=Progress(started=True, ready=True, done=(SHELL.identity,)))
    assert _plan(wanted, there) == [
        "web: restore (saved to disk)",
        "web: wait (resuming from disk)",
        "web: provision (1 of 2 steps to run)",
    ]
    done = instance(wanted, saved, progress=Progress(started=True, ready=True, done=(SHELL.identity, SHELL.identity)))
    assert _plan(wanted, done) == [
        "web: restore (saved to disk)",
        "web: wait (resuming from disk)",
    ]


def test_what_was_changed_while_a_vm_was_saved_waits_for_its_next_start() -> None:
    there = instance(observed=Observation(VmState.SUSPENDED, saved=True), progress=Progress(started=True))
    assert _plan(spec(memory_mib=4096), there)[0] == (
        "web: restore (saved to disk; memory changed: takes effect after `vmctl down` and `vmctl up`)"
    )
    (restore, *_) = plan_up([spec(memory_mib=4096)], {"web": there}, ()).operations
    assert restore.notices == ("memory changed: takes effect after `vmctl down` and `vmctl up`",)


def test_a_vm_whose_last_start_failed_is_started_again() -> None:
    there = instance(observed=VmState.STOPPED, failure=LastFailure("2026", "start", "code", "message"))
    assert _plan(spec(), there)[0] == "web: start (last start failed)"


def test_a_vm_that_is_up_is_left_alone() -> None:
    wanted = spec(provisioners=(SHELL,))
    there = instance(wanted, progress=Progress(started=True, ready=True, done=(SHELL.identity,)))
    assert _plan(wanted, there) == ["web: nothing (already running)"]


def test_a_vm_that_runs_but_is_not_ready_is_waited_for() -> None:
    there = instance(progress=Progress(started=True))
    assert _plan(spec(), there) == ["web: wait (not ready yet)"]


def test_interrupted_provisioning_goes_on_from_where_it_stopped() -> None:
    wanted = spec(provisioners=(SHELL, SHELL, SHELL))
    there = instance(wanted, progress=Progress(started=True, ready=True, done=(SHELL.identity,)))
    plan = plan_up([wanted], {"web": there}, ())
    assert [str(operation) for operation in plan.operations] == ["web: provision (2 of 3 steps to run)"]
    assert plan.operations[0].steps == (1, 2)


_ONCE = Provisioner(kind=ProvisionerKind.SHELL, inline="make db", once=True)


@pytest.mark.parametrize("state", [VmState.RUNNING, VmState.STOPPED])
def test_steps_that_run_once_and_have_are_not_in_the_plan(state: VmState) -> None:
    wanted = spec(provisioners=(SHELL, _ONCE, SHELL))
    progress = Progress(started=True, ready=True, done=(SHELL.identity,), once_done=(_ONCE.identity,))
    plan = plan_up([wanted], {"web": instance(wanted, state, progress=progress)}, ())
    last = plan.operations[-1]
    assert last.steps == ((2,) if state is VmState.RUNNING else (0, 2))
    assert last.cause == f"{len(last.steps)} of 3 steps to run"


def test_a_vm_whose_only_steps_run_once_and_have_is_left_alone() -> None:
    wanted = spec(provisioners=(_ONCE,))
    progress = Progress(started=True, ready=True, once_done=(_ONCE.identity,))
    assert _plan(wanted, instance(wanted, progress=progress)) == ["web: nothing (already running)"]


def test_with_less_to_wait_for_less_is_done() -> None:
    wanted = spec(provisioners=(SHELL,))
    assert _plan(wanted, wait=WaitFor.SSH) == [
        "web: create (does not exist)",
        "web: start (new)",
        "web: wait (starting)",
    ]
    assert _plan(wanted, wait=WaitFor.NONE)[-1] == "web: start (new)"
    there = instance(wanted, progress=Progress(started=True))
    assert _plan(wanted, there, wait=WaitFor.NONE) == ["web: nothing (already running)"]
    assert _plan(wanted, there)[0] == "web: wait (not ready yet)"


@pytest.mark.parametrize("ready", [True, False])
def test_a_suspended_vm_is_resumed_and_asked_for_the_time(ready: bool) -> None:
    there = instance(observed=VmState.SUSPENDED, progress=Progress(started=True, ready=ready))
    assert _plan(spec(), there) == ["web: resume (suspended)", "web: wait (resuming)"]


def test_provisioners_can_be_left_out() -> None:
    wanted = spec(provisioners=(SHELL,))
    assert _plan(wanted, provision=False)[-1] == "web: wait (starting)"
    assert _plan(wanted, instance(wanted), provision=False) == ["web: nothing (already running)"]


def test_without_a_seed_there_is_nothing_to_wait_for() -> None:
    assert _plan(spec(ssh=None)) == ["web: create (does not exist)", "web: start (new)"]


def test_without_a_network_there_is_nothing_to_wait_for() -> None:
    assert _plan(spec(networks=()))[-1] == "web: start (new)"


def test_a_backend_without_guests_neither_waits_nor_provisions() -> None:
    assert _plan(spec(provisioners=(SHELL,)), without_guests=["web"]) == [
        "web: create (does not exist)",
        "web: start (new)",
    ]


def test_several_vms_come_in_the_order_of_the_file() -> None:
    plan = plan_up([spec("web"), spec("db")], {"db": instance(spec("db"))}, ())
    assert plan.vms == ("web", "db")
    assert [operation.action for operation in plan.of("db")] == [Action.NOTHING]
    assert [operation.action for operation in plan.of("web")] == [Action.CREATE, Action.START, Action.WAIT]


# The VMFile was edited


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory_mib": 4096}, "memory"),
        ({"vcpus": 4, "memory_mib": 4096}, "vcpus, memory"),
        ({"accelerator": Accelerator.TCG, "cpu": "qemu64"}, "accel, cpu"),
    ],
)
def test_a_running_vm_says_what_a_restart_takes_up(changes: dict[str, Any], words: str) -> None:
    assert _plan(spec(**changes), instance()) == [
        f"web: nothing (already running; {words} changed: takes effect after `vmctl down` and `vmctl up`)"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": ImageSource(path="/images/other.qcow2")}, "image"),
        ({"disk_bytes": 1024**4}, "disk"),
        ({"cloud_init": CloudInit(hostname="shop"), "ssh": None}, "cloud-init, ssh"),
    ],
)
def test_what_is_fixed_at_creation_needs_a_new_vm(changes: dict[str, Any], words: str) -> None:
    kept = f"{words} changed: takes effect after `vmctl reload`"
    wanted = spec(**changes)
    assert _plan(wanted, instance()) == [f"web: nothing (already running; {kept})"]
    assert _plan(wanted, instance(observed=VmState.STOPPED))[0] == f"web: start (stopped; {kept})"


def test_a_stopped_vm_takes_up_new_memory_without_a_word() -> None:
    assert _plan(spec(memory_mib=4096), instance(observed=VmState.STOPPED))[0] == "web: start (stopped)"


def test_a_vm_made_without_network_is_not_waited_for_when_the_file_now_wants_one() -> None:
    there = instance(spec(networks=()), VmState.STOPPED)
    assert [line for line in _plan(spec(networks=(Network(),)), there) if "wait" in line] == []


def test_a_vm_made_without_a_seed_is_not_waited_for_when_the_file_now_wants_one() -> None:
    there = instance(spec(ssh=None), VmState.STOPPED)
    assert [line for line in _plan(spec(), there) if "wait" in line] == []


def test_what_is_edited_while_a_guest_does_not_get_ready_is_told_before_it_is_waited_for_again() -> None:
    there = instance(observed=VmState.RUNNING, progress=Progress(started=True))
    wanted = spec(ssh=SshAccess(user="debian", port=2222))
    late = "port changed: takes effect after `vmctl down` and `vmctl up`"
    assert _plan(wanted, there) == [f"web: wait (not ready yet; {late})"]
    (waiting,) = plan_up([wanted], {"web": there}, ()).operations
    assert waiting.notices == (late,)
