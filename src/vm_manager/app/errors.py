"""The library's error reporting, after libvirt's: handlers per connection and global, and the last error of each.

A `Manager` is the connection. When a failure crosses its boundary the connection's handler is called, else the global one,
else nothing, because the exception carries it already; and it is saved, per connection and per context. Threads and asyncio
tasks have contexts of their own, so they do not see each other's errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from vm_manager.diagnostics.errors import VmError

ErrorHandler = Callable[[VmError], None]

_last: ContextVar[VmError | None] = ContextVar("vm_manager_last_error", default=None)
_global_handlers: list[ErrorHandler] = []


def set_error_handler(handler: ErrorHandler) -> Callable[[], None]:
    """Be told of every failure for which no connection has a handler; the newest one counts.

    Returns a function that unregisters it; calling that again does nothing.
    """
    return _register(_global_handlers, handler)


def last_error() -> VmError | None:
    """The last failure in this context (thread or task), or None since a call that succeeded or a reset."""
    return _last.get()


def reset_last_error() -> None:
    """Forget the last failure of this context."""
    _last.set(None)


class ErrorReporter:
    """The part of a connection that reports its failures."""

    def __init__(self) -> None:
        self.last: VmError | None = None
        self._handlers: list[ErrorHandler] = []

    def on_error(self, handler: ErrorHandler) -> Callable[[], None]:
        """Register a handler of this connection; see `set_error_handler`."""
        return _register(self._handlers, handler)

    @contextmanager
    def boundary(self) -> Iterator[None]:
        """What every public call runs in: clears the last error on entry, reports and saves a failure on the way out."""
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
        _last.set(error)
        handler = next(reversed(self._handlers or _global_handlers), None)
        if handler is None:
            return
        try:
            handler(error)
        except Exception as broken:  # whatever a user's handler does
            error.enrich(notes=(f"the error handler failed: {type(broken).__name__}: {broken}",))


def _register(handlers: list[ErrorHandler], handler: ErrorHandler) -> Callable[[], None]:
    handlers.append(handler)
    registered = [handler]

    def unregister() -> None:
        if registered:
            handlers.remove(registered.pop())

    return unregister
