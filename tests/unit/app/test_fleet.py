"""The same work on several VMs, and the one failure that stands for all."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vm_manager.app.fleet import failure_of, on_each
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import DiskFull, Interrupted, MissingTool, VmError, VmNotFound
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore
from vm_manager.ui.outcomes import describe


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(InstanceStore(DataDir(tmp_path)), "noop", lambda event: None, CancelToken())


def _done(cause: str = "done") -> tuple[Done, ...]:
    return (Done(Action.NOTHING, cause),)


def _outcomes(*errors: VmError | None) -> list[Outcome]:
    return [Outcome(f"vm{number}", error=error) for number, error in enumerate(errors)]


def test_all_work_at_the_same_time_and_report_in_the_order_they_were_named(services: Services) -> None:
    together = threading.Barrier(3, timeout=30)

    def work(vm: str) -> tuple[Done, ...]:
        together.wait()
        return _done(f"{vm} done")

    assert [describe(outcome) for outcome in on_each(services, ["c", "a", "b"], work)] == ["c done", "a done", "b done"]


def test_a_failure_stays_with_its_vm(services: Services) -> None:
    def work(vm: str) -> tuple[Done, ...]:
        if vm == "bad":
            raise VmNotFound("gone")
        return _done()

    outcomes = on_each(services, ["bad", "good"], work)
    assert [(outcome.vm, outcome.error is None) for outcome in outcomes] == [("bad", False), ("good", True)]


def test_a_bug_is_no_outcome(services: Services) -> None:
    def work(vm: str) -> tuple[Done, ...]:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        on_each(services, ["a"], work)


def test_nothing_to_do_is_done(services: Services) -> None:
    assert on_each(services, [], _done) == ()


def test_what_was_cancelled_is_interrupted_and_not_failed(services: Services) -> None:
    def work(vm: str) -> tuple[Done, ...]:
        services.cancel.cancel()
        services.cancel.wait(60)
        return _done("never")

    with pytest.raises(Interrupted):
        on_each(services, ["a", "b"], work)


def test_what_each_vm_says_of_its_interruption_is_told(services: Services) -> None:
    def work(vm: str) -> tuple[Done, ...]:
        begun.wait(60)
        try:
            services.cancel.wait(60)
            services.cancel.raise_if_cancelled()
        except Interrupted as error:
            raise error.enrich(notes=(f"{vm} was at work",), help=("wait", *error.diagnostic.help)) from None
        return _done("never")

    def ctrl_c() -> None:
        begun.wait(60)
        time.sleep(0.5)  # a signal right before the main thread falls asleep would not wake it
        os.kill(os.getpid(), signal.SIGINT)

    begun = threading.Barrier(3)
    press = threading.Thread(target=ctrl_c)
    press.start()
    with pytest.raises(Interrupted) as caught:
        on_each(services, ["b", "a"], work)
    press.join()
    diagnostic = caught.value.diagnostic
    assert (diagnostic.notes, diagnostic.help) == (
        ("a was at work", "b was at work"),
        ("wait", Interrupted.entry.help),
    )


class _PressedAgain(CancelToken):
    """Ctrl-C is pressed again before the first one has told anybody."""

    def __init__(self) -> None:
        super().__init__()
        self._pressed = False

    def cancel(self) -> None:
        if not self._pressed:
            self._pressed = True
            raise KeyboardInterrupt
        super().cancel()


def test_ctrl_c_twice_ends_the_work_as_once_does(services: Services) -> None:
    services = replace(services, cancel=_PressedAgain())

    def work(vm: str) -> tuple[Done, ...]:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            services.cancel.wait(60)
        except Interrupted:
            told.set()
        return _done()

    told = threading.Event()
    with pytest.raises(Interrupted):
        on_each(services, ["a"], work)
    assert told.wait(30)


def test_no_failure_is_none() -> None:
    assert failure_of(_outcomes(None, None)) is None
    assert failure_of([]) is None


def test_a_single_failure_stands_for_itself() -> None:
    failure = VmNotFound("gone")
    assert failure_of(_outcomes(None, failure)) is failure


def test_failures_of_one_row_keep_its_exit_status() -> None:
    failure = failure_of(_outcomes(DiskFull("a"), None, MissingTool("b")))
    assert failure
    assert (str(failure), failure.exit_code) == ("2 of 3 VMs failed", 6)
    assert [one.message for one in failure.diagnostic.related] == ["a", "b"]


def test_failures_of_several_rows_are_partial() -> None:
    failure = failure_of(_outcomes(DiskFull("a"), VmNotFound("b")))
    assert failure
    assert (failure.diagnostic.code, failure.exit_code) == ("vmctl::partial", 1)


# What needs what


def test_what_others_need_is_done_first(services: Services) -> None:
    order: list[str] = []

    def work(vm: str) -> tuple[Done, ...]:
        order.append(vm)
        return _done()

    on_each(services, ["web", "cache", "db"], work, needs={"web": ("cache", "db"), "cache": ("db",)})
    assert order == ["db", "cache", "web"]


def test_a_failure_skips_those_that_need_it_and_those_that_need_them_and_no_others(services: Services) -> None:
    def work(vm: str) -> tuple[Done, ...]:
        if vm == "db":
            raise VmNotFound("gone")
        return _done()

    outcomes = on_each(services, ["front", "web", "db", "mail"], work, needs={"web": ("db",), "front": ("web",)})
    assert [(outcome.vm, outcome.skipped, outcome.error is None) for outcome in outcomes] == [
        ("front", True, True),
        ("web", True, True),
        ("db", False, False),
        ("mail", False, True),
    ]
    assert describe(outcomes[1]) == "skipped: it depends on 'db', which failed or was skipped"
    failure = failure_of(outcomes)
    assert isinstance(failure, VmNotFound)


def test_what_cannot_even_be_looked_at_is_missed_by_those_that_need_it(services: Services) -> None:
    outcomes = on_each(services, ["web"], lambda vm: _done(), {"db": DiskFull("full")}, needs={"web": ("db",)})
    assert [(outcome.vm, outcome.skipped) for outcome in outcomes] == [("web", True), ("db", False)]


def test_needs_outside_the_selection_do_not_count(services: Services) -> None:
    (outcome,) = on_each(services, ["web"], lambda vm: _done(), needs={"web": ("db",)})
    assert describe(outcome) == "done"


def test_no_more_at_once_than_allowed(services: Services) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(vm: str) -> tuple[Done, ...]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return _done()

    on_each(services, [f"vm{number}" for number in range(9)], work, parallel=3)
    assert most == 3
