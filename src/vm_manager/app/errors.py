"""The library's error reporting, after libvirt's: handlers per connection and global, and the last error of each.

A `Manager` is the connection. When a failure crosses its boundary the connection's handler is called, else the global one,
else nothing, because the exception carries it already; and it is saved, per connection and per context. Threads and asyncio
tasks have contexts of their own, so they do not see each other's errors.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

from vm_manager.diagnostics.errors import VmError

ErrorHandler = Callable[[VmError], None]

# With the thread or task that it belongs to: a context is copied to the tasks that are started in it.
_last: ContextVar[tuple[object, VmError] | None] = ContextVar("vm_manager_last_error", default=None)
_in_handler: ContextVar[bool] = ContextVar("vm_manager_in_error_handler", default=False)


@dataclass(eq=False)
class _Registered:
    """One registration: the same function may be registered twice, and each is undone by itself."""

    function: ErrorHandler


_global_handlers: list[_Registered] = []


def set_error_handler(handler: ErrorHandler) -> Callable[[], None]:
    """Be told of every failure for which no connection has a handler; the newest one counts.

    Returns a function that unregisters it; calling that again does nothing.
    """
    return _register(_global_handlers, handler)


def last_error() -> VmError | None:
    """The last failure in this context (thread or task), or None since a call that succeeded or a reset."""
    found = _last.get()
    return found[1] if found and found[0] is _owner() else None


def reset_last_error() -> None:
    """Forget the last failure of this context."""
    _last.set(None)


def _owner() -> object:
    """The asyncio task that runs, or the thread."""
    asyncio = sys.modules.get("asyncio")  # where it was never imported there is no task
    with suppress(RuntimeError):
        task = asyncio.current_task() if asyncio else None
        if task is not None:
            return task
    return threading.current_thread()


class ErrorReporter:
    """The part of a connection that reports its failures."""

    def __init__(self) -> None:
        self.last: VmError | None = None
        self._handlers: list[_Registered] = []

    def on_error(self, handler: ErrorHandler) -> Callable[[], None]:
        """Register a handler of this connection; see `set_error_handler`."""
        return _register(self._handlers, handler)

    @contextmanager
    def boundary(self) -> Iterator[None]:
        """What every public call runs in: clears the last error on entry, reports and saves a failure on the way out."""
        if _in_handler.get():
            # A handler that asks something must neither lose the error that it is told of nor be told of its own.
            yield
            return
        self.last = None
        _last.set(None)
        try:
            yield
        except VmError as error:
            self.report(error)
            raise

    def report(self, error: VmError) -> None:
        """Save a failure and tell the handler; one that raises becomes a note and hides nothing."""
        self.last = error
        _last.set((_owner(), error))
        handler = next(reversed(self._handlers or _global_handlers), None)
        if handler is None:
            return
        token = _in_handler.set(True)
        try:
            handler.function(error)
        except Exception as broken:  # whatever a user's handler does
            error.enrich(notes=(f"the error handler failed: {type(broken).__name__}: {broken}",))
        finally:
            _in_handler.reset(token)


def _register(handlers: list[_Registered], handler: ErrorHandler) -> Callable[[], None]:
    registered = _Registered(handler)
    handlers.append(registered)

    def unregister() -> None:
        if registered in handlers:
            handlers.remove(registered)

    return unregister
