"""How fast something counts up, and how long it will still take."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 10.0
_BAR_WIDTH = 20


class Rate:
    """The rate of the last ten seconds: what came before them says little about the next ones."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Take in a count. now: on the monotonic clock, in seconds."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()  # begun again
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float | None:
        """The rate, or None when nothing can be said yet."""
        elapsed = self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0
        return (self._seen[-1][1] - self._seen[0][1]) / elapsed if elapsed > 0 else None

    def left_s(self, total: int) -> float | None:
        """The seconds until the total is reached at this rate, or None."""
        return (total - self._seen[-1][1]) / self.per_s if self.per_s else None


def bar(current: int, total: int) -> str:
    """A bar of 20 characters."""
    full = min(_BAR_WIDTH, current * _BAR_WIDTH // total) if total else 0
    return f"[{'=' * full}{' ' * (_BAR_WIDTH - full)}]"


def duration(seconds: float) -> str:
    """A duration in a word: "9 s", "2:05 min", "1:02:03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} h"
