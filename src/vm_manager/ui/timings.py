"""How long the work on each VM took: its steps, and in a wait the phases of the guest's boot."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

from vm_manager.domain.events import Event, PhaseReached, StepFailed, StepFinished, StepStarted
from vm_manager.ui.outcomes import describe


class Timings:
    """Is told every event as it happens, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[tuple[float, list[dict[str, object]]]]] = defaultdict(list)
        self._done: dict[str, list[dict[str, object]]] = defaultdict(list)

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        now = time.monotonic()
        with self._lock:
            match event:
                case StepStarted(vm=vm):
                    self._open[vm].append((now, []))
                case PhaseReached(vm=vm, phase=phase) if self._open[vm]:
                    started, phases = self._open[vm][-1]
                    phases.append({"name": phase, "after_s": round(now - started, 3)})
                case StepFinished(vm=vm, step=step, outcome=outcome, elapsed_s=elapsed_s):
                    self._end(vm, step, describe(outcome), elapsed_s)
                case StepFailed(vm=vm, step=step, elapsed_s=elapsed_s):
                    self._end(vm, step, "failed", elapsed_s)

    def of(self, vm: str) -> list[dict[str, object]]:
        """The steps of a VM in the order in which they ended."""
        with self._lock:
            return list(self._done[vm])

    def _end(self, vm: str, step: str, outcome: str, elapsed_s: float) -> None:
        phases = self._open[vm].pop()[1] if self._open[vm] else []
        self._done[vm].append({"name": step, "outcome": outcome, "elapsed_s": round(elapsed_s, 3), "reached": phases})
