"""Progress of downloads as events: often enough to move a display, and no more; silence is told, too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vm_manager.app.services import Services
from vm_manager.domain.events import Noticed, Progressed
from vm_manager.images.download import ProgressSink

_EVERY_S = 0.1
# Of silence, before somebody is told: first, and how much longer each time.
_SILENCE_S, _LONGER = 10, 2


@contextmanager
def download_progress(services: Services, subject: str, step: str) -> Iterator[ProgressSink]:
    """Tells how far a download has come, and when nothing comes. subject: the VM, or the image, that it is for."""
    told_at = 0.0
    silence = _Silence(services, subject)

    def progress(done: int, total: int | None) -> None:
        nonlocal told_at
        now = time.monotonic()
        silence.ends(whole=done == total)
        if done == total or now - told_at >= _EVERY_S:
            told_at = now
            services.emit(Progressed(subject, step, done, total, "bytes"))

    with silence:
        yield progress


class _Silence:
    """Says that a server sends nothing while it is waited for. A context manager."""

    def __init__(self, services: Services, subject: str) -> None:
        self._services, self._subject = services, subject
        self._since, self._next_s = time.monotonic(), float(_SILENCE_S)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="silence", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def ends(self, *, whole: bool) -> None:
        """Something has come. whole: nothing more will."""
        self._since, self._next_s = time.monotonic(), float(_SILENCE_S)
        if whole:
            self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(max(0.1, self._since + self._next_s - time.monotonic())):
            silent_s = time.monotonic() - self._since
            if silent_s >= self._next_s:
                self._next_s *= _LONGER
                text = f"nothing from the server for {silent_s:.0f} s; Ctrl-C ends the wait and keeps what has arrived"
                self._services.emit(Noticed(self._subject, text))
