"""One step on one VM: events when it begins and ends, and an entry in the journal of the VM."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import Interrupted, VmError
from vm_manager.domain.events import StepFailed, StepFinished, StepStarted
from vm_manager.state.journal import record_failure, record_success


@dataclass
class Step:
    """What the block can say about its end: `outcome`, in a few words, past tense."""

    outcome: str


@contextmanager
def step(services: Services, vm: str, name: str, title: str, outcome: str) -> Iterator[Step]:
    """Emit the events of a step, and record it. A failure leaves it with the VM, the step and its duration added."""
    started = time.monotonic()
    services.emit(StepStarted(vm, name, title))
    current = Step(outcome)
    try:
        yield current
    except VmError as error:
        error.enrich(subject=services.subject(vm), operation=name, elapsed_s=time.monotonic() - started)
        if not isinstance(error, Interrupted):
            _record(services, vm, name, error)
        services.emit(StepFailed(vm, name, error.diagnostic, time.monotonic() - started))
        raise
    _record(services, vm, name, None)
    services.emit(StepFinished(vm, name, current.outcome, time.monotonic() - started))


def _record(services: Services, vm: str, name: str, error: VmError | None) -> None:
    if not services.store.exists(vm):
        return
    journal = services.store.files(vm).journal
    try:
        if error is None:
            record_success(journal, name)
        else:
            record_failure(journal, name, error.diagnostic)
    except VmError as full:
        # A full disk must not replace the failure that it could not record.
        if error is None:
            raise
        error.enrich(notes=(f"the failure could not be recorded: {full}",))
