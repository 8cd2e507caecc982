"""Progress of downloads as events: often enough to move a display, and no more."""

from __future__ import annotations

import time

from vm_manager.app.services import Services
from vm_manager.domain.events import Progressed
from vm_manager.images.download import ProgressSink

_EVERY_S = 0.1


def download_progress(services: Services, subject: str, step: str) -> ProgressSink:
    """Tells how far a download has come. subject: the VM, or the image, that it is for."""
    told_at = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal told_at
        now = time.monotonic()
        if done == total or now - told_at >= _EVERY_S:
            told_at = now
            services.emit(Progressed(subject, step, done, total, "bytes"))

    return progress
