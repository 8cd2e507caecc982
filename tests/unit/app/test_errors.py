"""Handlers and last errors: who is told of a failure, and who sees it afterwards."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

import vm_manager
from vm_manager.app.errors import ErrorReporter, last_error, reset_last_error, set_error_handler
from vm_manager.app.log import Log
from vm_manager.app.manager import Manager
from vm_manager.app.options import NewVm
from vm_manager.app.up import UpOptions
from vm_manager.diagnostics.errors import DiskFull, VmError, VmFileNotFound, VmNotFound
from vm_manager.diagnostics.model import Subject
from vm_manager.domain.events import Event, StepStarted
from vm_manager.domain.instance import VmState
from vm_manager.domain.outcome import Outcome
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


def _obstruct(directory: Path, vm: str) -> None:
    """Have the start of a VM of the noop backend fail: a directory is where its machine would be."""
    machine = directory / "data" / "vms" / vm / "machine"
    machine.mkdir()
    (machine / "in the way").touch()


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
    reporter, told = ErrorReporter("/data"), _Told()
    reporter.on_error(told)
    with pytest.raises(TypeError), reporter.boundary():
        raise TypeError("a bug")
    assert (told.errors, reporter.last, last_error()) == ([], None, None)


# Failures of single VMs


@pytest.mark.parametrize("which", ["connection", "global"])
def test_a_vms_failure_is_told_when_it_is_recorded_and_not_when_up_returns(
    tmp_path: Path, which: Literal["connection", "global"]
) -> None:
    told_of_web, order = threading.Event(), []

    def emit(event: Event) -> None:
        # The VM `db` goes on only when the failure of `web` has been told.
        if isinstance(event, StepStarted) and (event.vm, event.step) == ("db", "start"):
            order.append(f"db waited: {told_of_web.wait(30)}")

    manager = Manager(tmp_path / "data", backend="noop", emit=emit)
    project = _project(manager, tmp_path, "web", "db")
    manager.create(NewVm(name="web", image=tmp_path / "disk.img"))

    def handler(error: VmError) -> None:
        failure = manager.status("web").last_failure
        order.append(f"{error.diagnostic.subject.vm}: {failure and failure.message == error.diagnostic.message}")
        order.append(f"the caller's: {threading.current_thread() is threading.main_thread()}")
        told_of_web.set()

    _obstruct(tmp_path, "web")
    forget = manager.on_error(handler) if which == "connection" else set_error_handler(handler)
    try:
        outcomes = manager.up(project, options=UpOptions(adopting=True))
    finally:
        forget()
    assert order == ["web: True", "the caller's: True", "db waited: True"]
    assert [outcome.error is None for outcome in outcomes] == [False, True]
    assert manager.last_error() is last_error() is outcomes[0].error


def test_of_those_that_cannot_be_looked_at_is_told_before_the_others_are_worked_on(
    manager: Manager, tmp_path: Path
) -> None:
    project = _project(manager, tmp_path, "web", "db")
    manager.up(project)
    (tmp_path / "data" / "vms" / "web" / "vm.json").write_bytes(b"{")
    states = []
    manager.on_error(lambda error: states.append(manager.status("db").state))
    outcomes = manager.down(project)
    assert [outcome.error is None for outcome in sorted(outcomes, key=lambda outcome: outcome.vm)] == [True, False]
    assert states == [VmState.RUNNING]


_COMMANDS: dict[str, Callable[[Manager, Project], tuple[Outcome, ...]]] = {
    "up": lambda manager, project: manager.up(project),
    "reload": lambda manager, project: manager.reload(project),
    "down": lambda manager, project: manager.down(project),
    "provision": lambda manager, project: manager.provision(project),
    "start": lambda manager, project: manager.start(["web"]),
    "restart": lambda manager, project: manager.restart(["web"]),
    "suspend": lambda manager, project: manager.suspend(["web"]),
    "resume": lambda manager, project: manager.resume(["web"]),
    "snapshot create": lambda manager, project: manager.create_snapshot("web"),
    "snapshot restore": lambda manager, project: manager.restore_snapshot("web", "t"),
    "snapshot delete": lambda manager, project: manager.delete_snapshot("web", "t"),
}


@pytest.mark.parametrize("command", _COMMANDS.values(), ids=_COMMANDS)
def test_each_failure_in_an_outcome_is_told_once_whatever_the_command(
    manager: Manager, tmp_path: Path, command: Callable[[Manager, Project], tuple[Outcome, ...]]
) -> None:
    project = _project(manager, tmp_path, "web")
    manager.up(project)
    (tmp_path / "data" / "vms" / "web" / "vm.json").write_bytes(b"{")
    told = _Told()
    manager.on_error(told)
    assert told.errors == [outcome.error for outcome in command(manager, project)]
    assert len(told.errors) == 1
    assert manager.last_error() is told.errors[0]


def test_a_failure_in_a_call_inside_another_ones_block_is_told_once() -> None:
    outer, inner, told, told_inside = ErrorReporter("/outer"), ErrorReporter("/inner"), _Told(), _Told()
    outer.on_error(told)
    inner.on_error(told_inside)
    with pytest.raises(VmNotFound) as caught, outer.boundary(), outer.boundary():
        raise VmNotFound("gone")
    assert told.errors == [caught.value]
    with pytest.raises(VmNotFound) as caught, outer.boundary(), inner.boundary():
        raise VmNotFound("gone")
    assert (len(told.errors), told_inside.errors) == (1, [caught.value])


def test_what_fails_inside_a_handler_is_told_to_no_handler(manager: Manager, tmp_path: Path) -> None:
    project = _project(manager, tmp_path, "web")
    manager.up(project)
    (tmp_path / "data" / "vms" / "web" / "vm.json").write_bytes(b"{")
    told = []

    def handler(error: VmError) -> None:
        told.append(error)
        assert [outcome.error is None for outcome in manager.down(project)] == [False]

    manager.on_error(handler)
    error = _fail(manager)
    assert told == [error]
    assert error.diagnostic.notes == ()


# Whom it concerns


def test_a_look_up_that_fails_says_in_which_connection(manager: Manager, tmp_path: Path) -> None:
    assert _fail(manager).diagnostic.subject == Subject(vm="nope", connection=str(tmp_path / "data"))


_CALLS: dict[str, Callable[[Manager], object]] = {
    "load": lambda manager: manager.load(Path("missing.kdl")),
    "stop": lambda manager: manager.stop(["nope"]),
    "snapshots": lambda manager: manager.snapshots("nope"),
    "ssh": lambda manager: manager.login_command("nope"),
    "inspect": lambda manager: manager.inspect_image("nope"),
    "remove": lambda manager: manager.remove_images(["nope"]),
    "log": lambda manager: list(manager.log("nope", [Log.CONSOLE])),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS)
def test_every_failure_says_in_which_connection(
    manager: Manager, tmp_path: Path, call: Callable[[Manager], object]
) -> None:
    with pytest.raises(VmError) as caught:
        call(manager)
    assert caught.value.diagnostic.subject.connection == str(tmp_path / "data")


def test_the_handler_sees_the_connection_and_one_that_is_known_stays(manager: Manager) -> None:
    seen = []
    manager.on_error(lambda error: seen.append(error.diagnostic.subject.connection))
    error = _fail(manager)
    assert seen == [error.diagnostic.subject.connection]
    reporter = ErrorReporter("/here")
    with pytest.raises(DiskFull) as caught, reporter.boundary():
        raise DiskFull("full", subject=Subject(connection="/there"))
    assert caught.value.diagnostic.subject.connection == "/there"


# Outcomes


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
    reporter, seen = ErrorReporter("/data"), []
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


def test_the_threads_that_share_a_connection_do_not_see_each_others(manager: Manager) -> None:
    error = _fail(manager)
    seen: list[VmError | None] = []

    def work() -> None:
        seen.append(manager.last_error())
        seen.append(_fail(manager, "other"))
        seen.append(manager.last_error())
        manager.names()
        seen.append(manager.last_error())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert (seen[0], seen[1], seen[3]) == (None, seen[2], None)
    assert seen[1] is not None
    assert manager.last_error() is last_error() is error


def test_forgetting_it_in_one_thread_leaves_the_others(manager: Manager) -> None:
    error = _fail(manager)
    thread = threading.Thread(target=manager.reset_last_error)
    thread.start()
    thread.join(60)
    assert manager.last_error() is error


def test_the_asyncio_tasks_that_share_a_connection_do_not_see_each_others(manager: Manager) -> None:
    async def work(name: str, mine: asyncio.Event, others: asyncio.Event) -> bool:
        error = _fail(manager, name)
        mine.set()
        await others.wait()
        return manager.last_error() is error

    async def both() -> list[bool]:
        one, other = asyncio.Event(), asyncio.Event()
        async with asyncio.timeout(30):
            return [*await asyncio.gather(work("one", one, other), work("other", other, one))]

    assert asyncio.run(both()) == [True, True]
    assert manager.last_error() is None


def test_what_a_thread_has_left_ends_with_it_also_where_its_failure_was_caught_by_nobody(manager: Manager) -> None:
    left: list[weakref.ref[VmError]] = []

    def work() -> None:
        try:
            manager.status("nope")
        except VmError as error:
            left.append(weakref.ref(error))
            raise

    before, threading.excepthook = threading.excepthook, lambda args: None
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    finally:
        threading.excepthook = before
    del thread
    gc.collect()
    assert [error() for error in left] == [None]


def test_what_a_connection_has_left_ends_with_it(tmp_path: Path) -> None:
    manager = Manager(tmp_path, backend="noop")
    error = weakref.ref(_fail(manager))
    gone = weakref.ref(manager)
    Manager(tmp_path / "other").names()  # the last error of this thread is that of its last call
    del manager
    gc.collect()
    assert (gone(), error()) == (None, None)


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
