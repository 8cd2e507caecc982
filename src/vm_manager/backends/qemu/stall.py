"""Waiting for QEMU as long as something moves."""

from __future__ import annotations

from vm_manager.diagnostics.errors import MigrationFailed, QemuError
from vm_manager.domain.deadline import CancelToken, Deadline

# Nothing has moved for so long: that is no slow disk any more.
_STALLED_S = 60


class Stall:
    """Raises when what it is shown has not changed for too long.

    cancel: None: what is waited for cannot be interrupted. limit_s: in seconds. failure: what is raised.
    """

    def __init__(
        self,
        cancel: CancelToken | None,
        limit_s: float = _STALLED_S,
        failure: type[QemuError] = MigrationFailed,
    ) -> None:
        self._cancel, self._limit_s, self._failure = cancel, limit_s, failure
        self._last: object = None
        self._deadline = Deadline(limit_s, cancel)

    def look(self, figure: object) -> None:
        """Take in a figure. Raises: `failure`; `vmctl::interrupted`."""
        if figure != self._last:
            self._last, self._deadline = figure, Deadline(self._limit_s, self._cancel)
        if self._deadline.expired:
            raise self._failure(
                "no progress for {seconds} s",
                {"seconds": round(self._limit_s) if self._limit_s >= 1 else f"{self._limit_s:g}"},
                help=("check whether the host's disk still responds",),
                timeout_s=self._limit_s,
            )
