"""Machines that run on although their VM has lost them: told by every command, ended only by `stop` and `destroy`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from vm_manager.app.services import Services
from vm_manager.backends.registry import DEFAULT_BACKEND
from vm_manager.diagnostics.errors import BackendNotAvailable, StateForeign, VmNotFound, VmStray
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.machine import Stray

if TYPE_CHECKING:
    from vm_manager.domain.outcome import Done


_UNWRITTEN = "what it has not written to its disk yet is lost"


def strays(services: Services) -> dict[str, tuple[Stray, ...]]:
    """The strays of the data directory, by the names of their VMs."""
    found: dict[str, tuple[Stray, ...]] = {}
    # Which backend had them, nobody knows any more.
    for name in dict.fromkeys((DEFAULT_BACKEND, services.backend_name)):
        with suppress(BackendNotAvailable):
            for stray in services.backend(name).strays(services.store.data.vms):
                found[stray.name] = (*found.get(stray.name, ()), stray)
    return found


def require(services: Services, name: str, *, or_leftovers: bool = False) -> None:
    """Refuse a name that no VM has. Raises: as `InstanceStore.require`, and `vm::stray` where a machine still runs."""
    try:
        services.store.require(name, or_leftovers=or_leftovers)
    except (VmNotFound, StateForeign) as error:
        raise named_stray(services, name) or error from None


@contextmanager
def lock(services: Services, name: str, command: str) -> Iterator[None]:
    """Hold the lock of a name. Raises: as `InstanceStore.lock`, and `vm::stray` where a machine runs in a foreign directory."""
    with ExitStack() as stack:
        try:
            stack.enter_context(services.store.lock(name, command))
        except StateForeign as error:
            raise named_stray(services, name) or error from None
        yield


def named_stray(services: Services, name: str) -> VmStray | None:
    """The failure that the strays of a name are; None when there are none."""
    found = strays(services).get(name)
    return stray_error(services, found[0]) if found else None


def stray_error(services: Services, stray: Stray) -> VmStray:
    """What there is to say about a stray."""
    home, stop = services.home(stray.name), f"vmctl stop {stray.name}"
    if stray.name in services.store.foreign():
        stop = f"kill {stray.pid}"  # vmctl does not work on that name
    help: tuple[str, ...] = (f"stop it: `{stop}`",)
    notes: tuple[str, ...] = ()
    if not stop.startswith("vmctl"):
        notes = (
            f"its guest is not asked to shut down by that: {_UNWRITTEN}, unless you log in and shut it down there",
        )
    if stray.moved_to is not None and not home.exists():
        help = (f"move it back: `mv {shlex.quote(stray.moved_to)} {shlex.quote(str(home))}`", f"or stop it: `{stop}`")
    if stray.disk is not None:
        # A name that no file has: an image may well be called as the VM.
        copy = f"cp --sparse=always /dev/fd/9 {stray.name}-{stray.pid}.qcow2"
        notes = (
            "the disk was deleted, too: it is lost as soon as the VM stops",
            f"its guest cannot be asked to shut down any more: {_UNWRITTEN}, unless you log in and run `sync` before",
        )
        help = (f"stop it and save its disk: `{{ {stop} && {copy}; }} 9<{stray.disk}`", f"or only stop it: `{stop}`")
    return VmStray(
        "VM '{name}' still runs (pid {pid}), but " + stray.lost,
        {"name": stray.name, "pid": stray.pid, "home": str(home), "place": stray.moved_to or "another place"},
        notes=notes,
        help=help,
        subject=Subject(vm=stray.name),
    )


def end_strays(services: Services, found: Iterable[Stray], timeout_s: float, *, at_once: bool) -> tuple[Done, ...]:
    """End the strays of a VM; returns what was done. at_once: without asking their guests."""
    from vm_manager.app.steps import step
    from vm_manager.domain.outcome import Done
    from vm_manager.domain.plan import Action

    done: list[Done] = []
    for stray in found:
        stopped = Done(Action.STOP, pid=stray.pid)
        with step(services, stray.name, "stop", stopped) as current:
            if at_once:
                stray.destroy()
            else:
                stray.stop(Deadline(timeout_s, services.cancel), services.emit)
        done.append(current.done)
    return tuple(done)
