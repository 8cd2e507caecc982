"""Waiting: every wait has a deadline, and one token ends all of them at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vm_manager.diagnostics.errors import Interrupted

#: How long a guest may take to shut down by itself, in seconds, where nothing else is said.
STOP_TIMEOUT_S = 30.0


class CancelToken:
    """Ends every wait that was given it; set once, by Ctrl-C or a termination signal."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End all waits now and from now on."""
        self._event.set()
        with self._lock:
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back once when cancelled during the block, from another thread; for waits that know no token.

        Raises: `vmctl::interrupted` when it has been cancelled before.
        """
        with self._lock:
            self._callbacks.append(callback)
        try:
            self.raise_if_cancelled()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def raise_if_cancelled(self) -> None:
        """Raises: `vmctl::interrupted` once cancelled."""
        if self._event.is_set():
            raise Interrupted("interrupted")

    def wait(self, seconds: float) -> None:
        """Sleep, but wake at once when cancelled. Raises: `vmctl::interrupted`."""
        self._event.wait(max(0.0, seconds))
        self.raise_if_cancelled()


class Deadline:
    """A point in time on the monotonic clock, shared with a cancel token.

    timeout_s: seconds from now, or None for no limit.
    """

    def __init__(self, timeout_s: float | None, cancel: CancelToken | None = None) -> None:
        self.timeout_s = timeout_s
        self.cancel = cancel or CancelToken()
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the deadline was set."""
        return time.monotonic() - self._started

    @property
    def remaining_s(self) -> float:
        """Seconds left; 0 when it has passed, infinite without a limit."""
        return float("inf") if self.timeout_s is None else max(0.0, self.timeout_s - self.elapsed_s)

    @property
    def expired(self) -> bool:
        """Whether no time is left. Raises: `vmctl::interrupted`, so that loops on it end when cancelled."""
        self.cancel.raise_if_cancelled()
        return self.remaining_s <= 0

    def pause(self, seconds: float) -> None:
        """Wait that long, but not beyond the deadline. Raises: `vmctl::interrupted`."""
        self.cancel.wait(min(seconds, self.remaining_s))

    def within(self, seconds: float) -> float:
        """That many seconds, or what is left of them."""
        return min(seconds, self.remaining_s)
