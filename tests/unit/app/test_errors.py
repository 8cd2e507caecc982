"""Handlers and last errors: who is told of a failure, and who sees it afterwards."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vm_manager
from vm_manager.app.errors import ErrorReporter, last_error, reset_last_error, set_error_handler
from vm_manager.app.manager import Manager
from vm_manager.diagnostics.errors import DiskFull, VmError, VmFileNotFound, VmNotFound
from vm_manager.vmfile.load import Project


@pytest.fixture(autouse=True)
def _no_last_error() -> Iterator[None]:
    """The context of the tests is one: nothing of one is left for the next."""
    reset_last_error()
    yield
    reset_last_error()


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path / "data", backend="noop")


class _Told:
    """A handler that keeps what it is told."""

    def __init__(self) -> None:
        self.errors: list[VmError] = []

    def __call__(self, error: VmError) -> None:
        self.errors.append(error)


def _fail(manager: Manager, name: str = "nope") -> VmError:
    with pytest.raises(VmNotFound) as caught:
        manager.status(name)
    return caught.value


def _project(manager: Manager, directory: Path, *names: str) -> Project:
    (directory / "disk.img").write_bytes(b"\0" * 512)
    (directory / "VMFile.kdl").write_text("".join(f'vm "{name}" {{ image "disk.img" }}\n' for name in names))
    return manager.load(directory / "VMFile.kdl")


# Who is told


def test_without_a_handler_the_exception_carries_it(manager: Manager) -> None:
    assert _fail(manager).diagnostic.notes == ()


def test_the_connections_handler_is_told_and_the_global_one_is_not(manager: Manager) -> None:
    of_all, of_this = _Told(), _Told()
    forget_all, forget_this = set_error_handler(of_all), manager.on_error(of_this)
    try:
        error = _fail(manager)
        assert (of_this.errors, of_all.errors) == ([error], [])
        forget_this()
        again = _fail(manager)
        assert (of_this.errors, of_all.errors) == ([error], [again])
    finally:
        forget_all()
    _fail(manager)
    assert (of_this.errors, of_all.errors) == ([error], [again])


def test_a_connections_handler_is_told_of_no_other_connections_failures(tmp_path: Path) -> None:
    one, other = Manager(tmp_path / "one"), Manager(tmp_path / "other")
    told = _Told()
    one.on_error(told)
    _fail(other)
    assert told.errors == []


def test_the_newest_handler_counts_and_the_one_before_it_is_back_when_it_is_gone(manager: Manager) -> None:
    first, second = _Told(), _Told()
    manager.on_error(first)
    forget = manager.on_error(second)
    _fail(manager)
    assert (len(first.errors), len(second.errors)) == (0, 1)
    forget()
    _fail(manager)
    assert (len(first.errors), len(second.errors)) == (1, 1)


@pytest.mark.parametrize("which", ["connection", "global"])
def test_unregistering_again_does_nothing(manager: Manager, which: str) -> None:
    register: Callable[[_Told], Callable[[], None]] = manager.on_error if which == "connection" else set_error_handler
    first, second = _Told(), _Told()
    forget_first, forget_second = register(first), register(second)
    for _ in range(3):
        forget_second()
    _fail(manager)
    assert (len(first.errors), len(second.errors)) == (1, 0)
    forget_first()
    forget_first()


def test_unregistering_one_of_two_registrations_of_a_handler_leaves_the_other(manager: Manager) -> None:
    told = _Told()
    forget = manager.on_error(told)
    manager.on_error(told)
    forget()
    forget()
    _fail(manager)
    assert len(told.errors) == 1


def test_a_handler_that_is_registered_twice_leaves_the_place_it_was_given_last(manager: Manager) -> None:
    twice, between = _Told(), _Told()
    manager.on_error(twice)
    manager.on_error(between)
    manager.on_error(twice)()
    _fail(manager)
    assert (len(twice.errors), len(between.errors)) == (0, 1)


def test_a_handler_is_called_at_once_and_finds_the_error_saved(manager: Manager) -> None:
    seen = []

    def look(error: VmError) -> None:
        seen.append((manager.last_error() is error, last_error() is error, threading.get_ident()))

    manager.on_error(look)
    _fail(manager)
    assert seen == [(True, True, threading.get_ident())]


def test_a_handler_that_raises_becomes_a_note_and_hides_nothing(manager: Manager) -> None:
    def broken(error: VmError) -> None:
        raise ValueError("not today")

    manager.on_error(broken)
    error = _fail(manager)
    assert error.diagnostic.notes == ("the error handler failed: ValueError: not today",)
    assert manager.last_error() is error
    assert last_error() is error


def test_a_handler_may_use_the_connection_itself(manager: Manager) -> None:
    def curious(error: VmError) -> None:
        manager.names()

    manager.on_error(curious)
    error = _fail(manager)
    assert error.diagnostic.notes == ()


def test_what_a_handler_does_with_the_connection_does_not_clear_the_error(manager: Manager) -> None:

    def curious(error: VmError) -> None:
        manager.names()

    manager.on_error(curious)
    error = _fail(manager)
    assert manager.last_error() is error


def test_what_is_no_diagnosed_failure_is_told_to_nobody() -> None:
    reporter, told = ErrorReporter(), _Told()
    reporter.on_error(told)
    with pytest.raises(TypeError), reporter.boundary():
        raise TypeError("a bug")
    assert (told.errors, reporter.last, last_error()) == ([], None, None)


# Failures of single VMs


def test_failures_inside_outcomes_are_told_and_saved(manager: Manager, tmp_path: Path) -> None:
    project = _project(manager, tmp_path, "web", "db")
    told = _Told()
    manager.on_error(told)
    assert [outcome.error for outcome in manager.up(project)] == [None, None]
    assert (told.errors, manager.last_error(), last_error()) == ([], None, None)
    for name in ("web", "db"):
        (tmp_path / "data" / "vms" / name / "vm.json").write_bytes(b"{")
    outcomes = manager.down(project)
    assert [error.code for error in told.errors] == ["vm_manager::state::corrupt"] * 2
    assert told.errors == [outcome.error for outcome in outcomes]
    assert manager.last_error() is last_error() is told.errors[-1]


# The last error


def test_it_is_saved_and_cleared_by_the_next_call_that_succeeds(manager: Manager) -> None:
    error = _fail(manager)
    assert manager.last_error() is last_error() is error
    manager.names()
    assert (manager.last_error(), last_error()) == (None, None)


def test_it_is_cleared_on_entry(manager: Manager) -> None:
    _fail(manager)
    with pytest.raises(VmFileNotFound) as caught:
        manager.load(Path("missing.kdl"))
    assert manager.last_error() is caught.value
    reporter, seen = ErrorReporter(), []
    reporter.report(DiskFull("full"))
    with reporter.boundary():
        seen = [reporter.last, last_error()]
    assert seen == [None, None]


def test_it_can_be_forgotten(manager: Manager) -> None:
    error = _fail(manager)
    reset_last_error()
    assert (manager.last_error(), last_error()) == (error, None)
    error = _fail(manager)
    manager.reset_last_error()
    assert (manager.last_error(), last_error()) == (None, error)


def test_connections_do_not_see_each_others(tmp_path: Path) -> None:
    one, other = Manager(tmp_path / "one"), Manager(tmp_path / "other")
    error = _fail(one)
    assert (one.last_error(), other.last_error()) == (error, None)
    other.names()
    assert one.last_error() is error


def test_threads_do_not_see_each_others(tmp_path: Path) -> None:
    both_failed = threading.Barrier(2, timeout=30)
    seen: dict[str, tuple[VmError, VmError | None]] = {}

    def work(name: str) -> None:
        error = _fail(Manager(tmp_path), name)
        both_failed.wait()
        seen[name] = (error, last_error())

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(error is last for error, last in seen.values())
    assert {error.diagnostic.args["name"] for error, _ in seen.values()} == {"one", "other"}
    assert last_error() is None


def test_asyncio_tasks_do_not_see_each_others(tmp_path: Path) -> None:
    async def work(name: str, mine: asyncio.Event, others: asyncio.Event) -> bool:
        error = _fail(Manager(tmp_path), name)
        mine.set()
        await others.wait()
        return last_error() is error

    async def both() -> list[bool]:
        one, other = asyncio.Event(), asyncio.Event()
        async with asyncio.timeout(30):
            return [*await asyncio.gather(work("one", one, other), work("other", other, one))]

    assert asyncio.run(both()) == [True, True]
    assert last_error() is None


def test_a_connections_last_error_is_that_of_its_last_call_whichever_thread_made_it(manager: Manager) -> None:
    error = _fail(manager)
    thread = threading.Thread(target=manager.names)
    thread.start()
    thread.join(60)
    assert (manager.last_error(), last_error()) == (None, error)


def test_a_new_context_begins_without_a_last_error(manager: Manager) -> None:
    _fail(manager)
    assert contextvars.copy_context().run(asyncio.run, _last()) is None


async def _last() -> VmError | None:
    return last_error()


def test_the_package_offers_it_all() -> None:
    assert vm_manager.last_error is last_error
    assert vm_manager.reset_last_error is reset_last_error
    assert vm_manager.set_error_handler is set_error_handler
    assert vm_manager.Manager is Manager
