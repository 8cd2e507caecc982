"""Whether a guest that boots gets anywhere: by what it writes to its console and what its disks do.

A guest that is slow moves; one that hangs, or waits for somebody at its keyboard, does not. One that restarts again and again
moves, too, and gets nowhere; neither does one that counts the seconds of a job, or writes its log from time to time.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.safe_text import safe_line, safe_lines
from vm_manager.domain.instance import Vitals

_CONSOLE_CHUNK = 64 * 1024
_REMEMBERED = 64 * 1024
_ASK_EVERY_S = 1.0
# A job that systemd waits for is shown again and again, with its time and a moving mark; so are two or three at once.
_REPEATED_LINES = 16
_VARYING = re.compile(r"(?:\d+(?:min|ms|s|h)?|\W)+")
_LINE_END = re.compile(r"[\r\n]")
_LINE_CHARS = 1000


class Console:
    """What a guest writes to its console: each piece once, and the newest of it remembered."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._newest: deque[str] = deque(maxlen=_REPEATED_LINES)
        self._unfinished = self.text = ""

    def read(self) -> str:
        """What has come since the last time; only the newest part of a flood."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                # A flooding guest must not keep us here: only the newest part is of interest.
                # A log that has become shorter was begun anew.
                file.seek(max(self._offset if self._offset <= size else 0, size - _CONSOLE_CHUNK))
                data = file.read(_CONSOLE_CHUNK)
                self._offset = file.tell()
        except OSError:
            return ""
        new = data.decode(errors="replace")
        self.text = (self.text + new)[-_REMEMBERED:]
        return new

    def forget(self) -> None:
        """Begin anew, as the guest does: what was said before is of no interest any more."""
        self.text = ""

    def is_news(self, text: str) -> bool:
        """Whether a piece says something that the console has not just said, but for figures."""
        *lines, self._unfinished = _LINE_END.split((self._unfinished + text)[-_CONSOLE_CHUNK:])
        self._unfinished = self._unfinished[:_LINE_CHARS]
        said = {_VARYING.sub(" ", safe_line(line[:_LINE_CHARS])).strip() for line in lines}
        news = said.difference(self._newest, ("",))
        self._newest.extend(news)
        return bool(news)

    def lines(self) -> list[str]:
        """What is remembered, safe to show."""
        return safe_lines(self.text)


@dataclass
class Progress:
    """Notes when a guest moved last, and when it got further.

    vitals: asked at most once a second. seen: its last answer.
    restarts: since `got_further`; a boot loop shows in it.
    """

    vitals: Callable[[], Vitals | None]

    def __post_init__(self) -> None:
        self._moved = self._asked = self._heard = self._further = time.monotonic()
        self.seen: Vitals | None = None
        self._resets_before = 0
        self._busy_s = 0.0
        self._waited_before: float | None = None
        #: For how many seconds this host had no CPU for it.
        self.waited_s = 0.0

    def look(self, *, heard: bool, news: bool) -> None:
        """Take note. heard: whether the console said something since the last time; news: and something new."""
        now = time.monotonic()
        if heard:
            self._moved = self._heard = now
        if news:
            self._begin_anew(now)
        if now - self._asked >= _ASK_EVERY_S:
            self.ask()

    def ask(self) -> Vitals | None:
        """Ask the machine now; what it counts, or None when it does not tell."""
        before, self._asked = self._asked, time.monotonic()
        found = self.vitals()
        if found is None:
            return None
        since_s, waited_s = self._asked - max(before, self._further), self._waited_since(found)
        if found != self.seen:
            if self.seen is None:
                self._resets_before = found.resets
            self.seen, self._moved = found, self._asked
            self._busy_s += since_s
        else:
            self._busy_s += min(waited_s, since_s)
        return found

    def _waited_since(self, found: Vitals) -> float:
        """For how many seconds it waited for a CPU of this host since the last time."""
        before, self._waited_before = self._waited_before, found.waited_s
        waited_s = max(0.0, found.waited_s - (found.waited_s if before is None else before))
        self.waited_s += waited_s
        return waited_s

    def got_further(self) -> None:
        """The guest has reached a phase where it had not been."""
        self._moved = time.monotonic()
        self._begin_anew(self._moved)
        if self.seen is not None:
            self._resets_before = self.seen.resets

    def _begin_anew(self, now: float) -> None:
        self._further, self._busy_s = now, 0.0

    @property
    def restarts(self) -> int:
        """How often the guest has restarted since it got further last."""
        return self.seen.resets - self._resets_before if self.seen else 0

    @property
    def still_s(self) -> float:
        """How long nothing has moved."""
        return time.monotonic() - self._moved

    @property
    def stalled_s(self) -> float:
        """How long it has not got further, without the seconds in which its disk was busy or it had to wait for a CPU."""
        return time.monotonic() - self._further - self._busy_s

    @property
    def silent_s(self) -> float:
        """How long the console has said nothing."""
        return time.monotonic() - self._heard
