"""Whether a server sends fast enough to be waited for: to who sends two bytes a second no limit for silence applies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LOOKS = 8


class Pace:
    """Gives a server up that sends less than `least_bytes` in each `window_s` seconds of waiting for it. A context manager.

    Only the time between `waits` and `came` counts: a slow disk of ours is not the server's fault.
    give_up: called then, from another thread, to end the wait. given_up: whether it was.
    """

    def __init__(self, least_bytes: float, window_s: float, give_up: Callable[[], None]) -> None:
        self._least_bytes, self._window_s, self._give_up = least_bytes, window_s, give_up
        self._waited_s, self._came = 0.0, 0
        self._since: float | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self.given_up = False

    def __enter__(self) -> Self:
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="pace")
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()

    def waits(self) -> None:
        """From now on the server is waited for."""
        with self._lock:
            self._since = time.monotonic()

    def came(self, size: int) -> None:
        """So many bytes have come."""
        with self._lock:
            self._settle()
            self._since = None
            self._came += size

    def _settle(self) -> None:
        if self._since is not None:
            now = time.monotonic()
            self._waited_s += now - self._since
            self._since = now

    def _watch(self) -> None:
        while not self._over.wait(self._window_s / _LOOKS):
            with self._lock:
                self._settle()
                if self._waited_s < self._window_s:
                    continue
                self.given_up = self._came < self._least_bytes
                self._waited_s, self._came = 0.0, 0
            if self.given_up:
                self._give_up()
                return
