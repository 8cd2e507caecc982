"""One step on one VM: events when it begins and ends, and an entry in the journal of the VM."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import Interrupted, VmError
from vm_manager.domain.events import StepFailed, StepFinished, StepStarted
from vm_manager.domain.outcome import Done
from vm_manager.state.journal import record_failure, record_success


@dataclass
class Step:
    """What the block does: `done`, to which it can add facts."""

    done: Done


@contextmanager
def told(services: Services, subject: str, name: str, done: Done) -> Iterator[Step]:
    """Emit the events of a step on a VM or an image.

    done: what it will have done when it ends well; its duration is added.
    """
    started = time.monotonic()
    services.emit(StepStarted(subject, name, done))
    current = Step(done)
    try:
        yield current
    except VmError as error:
        services.emit(StepFailed(subject, name, error.diagnostic, time.monotonic() - started))
        raise
    elapsed_s = time.monotonic() - started
    current.done = replace(current.done, elapsed_s=elapsed_s)
    services.emit(StepFinished(subject, name, current.done, elapsed_s))


@contextmanager
def step(services: Services, vm: str, name: str, done: Done) -> Iterator[Step]:
    """As `told`, and record it. A failure leaves it with the VM, the step and its duration added."""
    started = time.monotonic()
    with told(services, vm, name, done) as current:
        try:
            yield current
        except VmError as error:
            error.enrich(subject=services.subject(vm), operation=name, elapsed_s=time.monotonic() - started)
            if not isinstance(error, Interrupted):
                _record(services, vm, name, error)
            raise
        _record(services, vm, name, None)


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
