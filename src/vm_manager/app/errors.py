"""The library's error reporting, after libvirt's: handlers per connection and global, and the last error of each.

A `Manager` is the connection. When a failure is recorded, in the outcome of a VM or as it leaves the connection, it is saved
for the connection and for the thread or asyncio task whose call it is; then the connection's handler is called, else the
global one, else nothing, because the exception carries it already. Threads and tasks do not see each other's errors.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary, WeakSet, ref

from vm_manager.diagnostics.errors import VmError
from vm_manager.diagnostics.os_errors import of_the_host

ErrorHandler = Callable[[VmError], None]


@dataclass(eq=False)
class _Caller:
    """A thread or asyncio task. reporter: of the connection whose call it is in; telling: whether it is in a handler."""

    runs: ref[object]
    reporter: ErrorReporter | None = None
    telling: bool = False


# Held by the context alone, which ends with its thread or task. No frame may keep one: a failure keeps its frames, and would
# by these keep itself.
_caller: ContextVar[_Caller | None] = ContextVar("vm_manager_caller", default=None)


def _here() -> _Caller:
    """Who is calling. A context is copied to the tasks that are started in it, so that who was there may be another."""
    runs = _running()
    known = _caller.get()
    if known is None or known.runs() is not runs:
        known = _Caller(ref(runs))
        _caller.set(known)
    return known


def _running() -> object:
    """The asyncio task that runs, or the thread."""
    # Where it was never imported there is no task; another thread may be about to import it.
    current_task = getattr(sys.modules.get("asyncio"), "current_task", None)
    with suppress(RuntimeError):
        task = current_task() if current_task else None
        if task is not None:
            return task
    return threading.current_thread()


class _LastErrors:
    """The last error of each thread and task, as long as that lives."""

    def __init__(self) -> None:
        self._errors: WeakKeyDictionary[_Caller, VmError] = WeakKeyDictionary()

    def get(self) -> VmError | None:
        return self._errors.get(_here())

    def save(self, error: VmError) -> None:
        self._errors[_here()] = error

    def forget(self) -> None:
        self._errors.pop(_here(), None)


@dataclass(eq=False)
class _Registered:
    """One registration: the same function may be registered twice, and each is undone by itself."""

    function: ErrorHandler


_global_handlers: list[_Registered] = []
_last = _LastErrors()
# A failure belongs to the call in which it came up, not to those around it.
_told: WeakSet[VmError] = WeakSet()


def set_error_handler(handler: ErrorHandler) -> Callable[[], None]:
    """Call `handler` for every failure for which no connection has a handler; the newest handler counts.

    Returns a function that unregisters it; calling that again does nothing.
    """
    return _register(_global_handlers, handler)


def last_error() -> VmError | None:
    """The last failure of this thread or asyncio task, or None since a call that succeeded or a reset."""
    return _last.get()


def reset_last_error() -> None:
    """Forget the last failure of this thread or asyncio task."""
    _last.forget()


def report_now(error: VmError) -> None:
    """Report the failure of one of several VMs to the connection whose call this is, while the others are worked on."""
    reporter = _here().reporter
    if reporter is not None:
        reporter.report(error)


class ErrorReporter:
    """The part of a connection that reports its failures. connection: its data directory."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self._last = _LastErrors()
        self._handlers: list[_Registered] = []

    @property
    def last(self) -> VmError | None:
        """The last failure of this connection in this thread or asyncio task."""
        return self._last.get()

    def forget(self) -> None:
        """Forget the last failure of this connection in this thread or asyncio task."""
        self._last.forget()

    def on_error(self, handler: ErrorHandler) -> Callable[[], None]:
        """Register a handler of this connection; see `set_error_handler`."""
        return _register(self._handlers, handler)

    @contextmanager
    def boundary(self) -> Iterator[None]:
        """What every public call runs in: forgets the last error on entry, reports and saves a failure on the way out."""
        outer = _here().reporter
        # What a handler asks must not lose the error that it is told of.
        if not _here().telling:
            self._last.forget()
            _last.forget()
        _here().reporter = self
        try:
            yield
        except VmError as error:
            self.report(error)
            raise
        except (OSError, MemoryError, RuntimeError) as error:
            if (found := of_the_host(error)) is None:
                raise
            self.report(found)
            raise found from error
        finally:
            _here().reporter = outer

    def report(self, error: VmError) -> None:
        """Save a failure and tell the handler, unless it has been told; one that raises becomes a note and hides nothing."""
        subject = error.diagnostic.subject
        if subject.connection is None:
            error.enrich(subject=replace(subject, connection=self._connection))
        error.explained()
        if _here().telling:
            return  # a handler is not told of what it does itself
        self._last.save(error)
        _last.save(error)
        handler = next(reversed(self._handlers or _global_handlers), None)
        if handler is not None and error not in _told:
            _told.add(error)
            _tell(handler, error)


def _tell(handler: _Registered, error: VmError) -> None:
    _here().telling = True
    try:
        handler.function(error)
    except Exception as broken:  # whatever a user's handler does
        error.enrich(notes=(f"the error handler failed: {type(broken).__name__}: {broken}",)).explained()
    finally:
        _here().telling = False


def _register(handlers: list[_Registered], handler: ErrorHandler) -> Callable[[], None]:
    registered = _Registered(handler)
    handlers.append(registered)

    def unregister() -> None:
        if registered in handlers:
            handlers.remove(registered)

    return unregister
