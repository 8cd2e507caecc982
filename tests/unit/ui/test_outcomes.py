"""The words for what was done: in full as a step ends, in short in a VM's line at the end of a command."""

from __future__ import annotations

import pytest

from vm_manager.diagnostics.errors import VmNotFound
from vm_manager.domain.instance import Endpoint
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action, WaitFor
from vm_manager.ui.outcomes import announce, describe

_SSH = Endpoint("127.0.0.1", 2222)
_MIB = 1024**2

# What was done, as its step tells it, and in the VM's line at the end.
_WORDS = (
    (Done(Action.FETCH), "downloaded the image", ""),
    (
        Done(Action.FETCH, from_cache=True),
        "the image is in the cache: another command downloaded it meanwhile",
        "",
    ),
    (Done(Action.CREATE), "created", "created"),
    (Done(Action.CREATE, from_cache=True), "created, with the image from the cache", "created"),
    (Done(Action.START), "started", "started"),
    (Done(Action.START, ssh=_SSH), "started, SSH on 127.0.0.1:2222", "started"),
    (Done(Action.RESUME), "resumed", "resumed"),
    (Done(Action.SUSPEND), "suspended", "suspended"),
    (Done(Action.SAVE, size_bytes=300 * _MIB), "saved to disk (300 MiB)", "saved to disk"),
    (Done(Action.RESTORE, ssh=_SSH), "restored, SSH on 127.0.0.1:2222", "restored"),
    (Done(Action.DISCARD, size_bytes=300 * _MIB), "discarded the saved state", "discarded 300 MiB of saved state"),
    (Done(Action.WAIT), "ready", "ready"),
    (Done(Action.WAIT, wait_for=WaitFor.SSH), "reachable by SSH", "reachable by SSH"),
    (Done(Action.PROVISION), "provisioned", "nothing to do: it has no provisioners"),
    (Done(Action.PROVISION, steps=1), "provisioned", "provisioned (1 step)"),
    (Done(Action.PROVISION, steps=3), "provisioned", "provisioned (3 steps)"),
    (Done(Action.PROVISION, steps=2, steps_left_out=1), "provisioned", "provisioned (2 steps, 1 that runs once left out)"),
    (Done(Action.PROVISION, steps_left_out=2), "provisioned", "provisioned (0 steps, 2 that run once left out)"),
    (Done(Action.PROVISION, step=2, steps=3), "step 2/3 succeeded", None),
    (Done(Action.STOP), "stopped", "stopped"),
    (Done(Action.STOP, pid=7), "stopped (pid 7)", "stopped (pid 7)"),
    (
        Done(Action.REPLACE, size_bytes=5 * _MIB),
        "created the new VM",
        "replaced by a new VM, discarding a disk with 5 MiB of changes",
    ),
    (
        Done(Action.REPLACE, from_cache=True, size_bytes=5 * _MIB, saved_state=True),
        "created the new VM, with the image from the cache",
        "replaced by a new VM, discarding a disk with 5 MiB of changes and its saved state",
    ),
    (Done(Action.DESTROY), "destroyed", "destroyed"),
    (Done(Action.DESTROY, saved_state=True), "destroyed", "destroyed, with its saved state"),
    (Done(Action.NOTHING, "already running"), "already running", "already running"),
    (
        Done(Action.SNAPSHOT_CREATE, tag="a", size_bytes=9 * _MIB),
        "took snapshot a (9 MiB of memory)",
        "took snapshot a (9 MiB of memory)",
    ),
    (Done(Action.SNAPSHOT_CREATE, tag="a"), "took snapshot a (disks only)", "took snapshot a (disks only)"),
    (Done(Action.SNAPSHOT_RESTORE, tag="a"), "restored snapshot a", "restored snapshot a"),
    (Done(Action.SNAPSHOT_DELETE, tag="a"), "deleted snapshot a", "deleted snapshot a"),
    (Done(Action.MIGRATE, to="/srv", ssh=_SSH), "moved to /srv, SSH on 127.0.0.1:2222", "moved to /srv, SSH on 127.0.0.1:2222"),
    (Done(Action.CONVERT, to="raw"), "converted to raw", None),
    (Done(Action.FETCH, source="https://host/disk"), "downloaded the image", None),
    (Done(Action.FETCH, source="https://host/disk", from_cache=True), "the image is already in the cache", None),
)  # fmt: skip


def test_every_action_has_words() -> None:
    assert {done.action for done, _, _ in _WORDS} == set(Action)


@pytest.mark.parametrize(("done", "full", "short"), _WORDS)
def test_a_step_tells_it_in_full_and_the_vms_line_in_short(done: Done, full: str, short: str | None) -> None:
    assert describe(done) == full
    if short is not None:
        assert describe(Outcome("web", (done,))) == short


def test_a_vms_line_has_all_that_was_done_in_order() -> None:
    done = (Done(Action.FETCH), Done(Action.CREATE), Done(Action.START, ssh=_SSH), Done(Action.WAIT))
    outcome = Outcome("web", (*done, Done(Action.PROVISION, steps=3)))
    assert describe(outcome) == "created, started, ready, provisioned (3 steps)"
    assert outcome.exit_code == 0


def test_a_failure_is_said_by_its_diagnostic() -> None:
    outcome = Outcome("web", error=VmNotFound("gone"))
    assert describe(outcome) == "failed"
    assert outcome.exit_code == VmNotFound("gone").exit_code


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("db",), "skipped: it depends on 'db', which failed or was skipped"),
        (("db", "mail"), "skipped: it depends on 'db' and 'mail', which failed or were skipped"),
    ],
)
def test_what_was_skipped_names_what_it_depends_on(missing: tuple[str, ...], words: str) -> None:
    outcome = Outcome("web", missing=missing)
    assert outcome.skipped
    assert describe(outcome) == words


@pytest.mark.parametrize(
    ("doing", "words"),
    [
        (Done(Action.FETCH), "downloading the image"),
        (Done(Action.FETCH, source="https://host/disk"), "downloading https://host/disk"),
        (Done(Action.PROVISION, steps=1), "provisioning (1 step)"),
        (Done(Action.PROVISION, steps=2), "provisioning (2 steps)"),
        (Done(Action.PROVISION, step=1, steps=2, title="shell true"), "step 1/2: shell true"),
        (Done(Action.MIGRATE, to="/srv"), "moving to /srv"),
        (Done(Action.CONVERT, to="raw"), "converting to raw"),
    ],
)
def test_what_is_being_done_is_told_with_its_facts(doing: Done, words: str) -> None:
    assert announce(doing) == words


def test_every_step_has_words_to_begin_with() -> None:
    assert [action for action in Action if not announce(Done(action))] == [Action.NOTHING]


def test_how_long_it_took_does_not_make_two_deeds_different() -> None:
    assert Done(Action.STOP, elapsed_s=1.0) == Done(Action.STOP, elapsed_s=2.0)
