"""Whether a guest that boots gets anywhere: by what it writes to its console and what its disks do.

A guest that is slow moves; one that hangs, or waits for somebody at its keyboard, does not. One that restarts again and again
moves, too, and gets nowhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.instance import Vitals

_CONSOLE_CHUNK = 64 * 1024
_REMEMBERED = 64 * 1024
_ASK_EVERY_S = 1.0


class Console:
    """What a guest writes to its console: each piece once, and the newest of it remembered."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self.text = ""

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

    def lines(self) -> list[str]:
        """What is remembered, safe to show."""
        return safe_lines(self.text)


@dataclass
class Progress:
    """Notes when a guest moved last.

    vitals: asked at most once a second. seen: its last answer.
    restarts: since `got_further`; a boot loop shows in it.
    """

    vitals: Callable[[], Vitals | None]

    def __post_init__(self) -> None:
        self._last = self._asked = time.monotonic()
        self.seen: Vitals | None = None
        self._resets_before = 0
        self._heard = time.monotonic()

    def look(self, heard: bool) -> None:
        """Take note. heard: whether the console said something since the last time."""
        now = time.monotonic()
        if heard:
            self._last = self._heard = now
        if now - self._asked < _ASK_EVERY_S:
            return
        self.ask()

    def ask(self) -> Vitals | None:
        """Ask the machine now; what it counts, or None when it does not tell."""
        self._asked = now = time.monotonic()
        found = self.vitals()
        if found is not None and found != self.seen:
            if self.seen is None:
                self._resets_before = found.resets
            self.seen, self._last = found, now
        return found

    def got_further(self) -> None:
        """The guest has reached a phase where it had not been."""
        self._last = time.monotonic()
        if self.seen is not None:
            self._resets_before = self.seen.resets

    @property
    def restarts(self) -> int:
        """How often the guest has restarted since it got further last."""
        return self.seen.resets - self._resets_before if self.seen else 0

    @property
    def still_s(self) -> float:
        """How long nothing has moved."""
        return time.monotonic() - self._last

    @property
    def silent_s(self) -> float:
        """How long the console has said nothing."""
        return time.monotonic() - self._heard
