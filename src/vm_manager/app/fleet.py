"""The same work on several VMs at once, in the order of what needs what: a thread each, one cancel token, every failure told."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter

from vm_manager.app.errors import report_now
from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import Interrupted, Partial, VmError
from vm_manager.diagnostics.subject import Subject
from vm_manager.domain.outcome import Done, Outcome


def on_each(
    services: Services,
    vms: Sequence[str],
    work: Callable[[str], tuple[Done, ...]],
    failures: Mapping[str, VmError] | None = None,
    *,
    needs: Mapping[str, Collection[str]] | None = None,
    parallel: int | None = None,
) -> tuple[Outcome, ...]:
    """Do `work` for every VM, as many at once as can be; it returns what it did. One that fails stops only those that need it.

    A failure is reported at once, in the caller's thread, while the others are worked on.
    failures: VMs that could not even be looked at; their outcomes come last.
    needs: by VM, others of `vms` whose work must have succeeded before its own begins; without a circle.
    parallel: how many at once at the most; None: all.
    Raises: `vmctl::interrupted` after Ctrl-C, when every thread has ended.
    """
    failures, needs = failures or {}, needs or {}

    def guarded(vm: str) -> Outcome:
        started = time.monotonic()
        try:
            services.cancel.raise_if_cancelled()
            return Outcome(vm, work(vm), elapsed_s=time.monotonic() - started)
        except VmError as error:
            return Outcome(vm, error=error, elapsed_s=time.monotonic() - started)

    for failure in failures.values():
        report_now(failure)
    outcomes: dict[str, Outcome] = {}
    failed = set(failures)
    order = TopologicalSorter({vm: [other for other in needs.get(vm, ()) if other in vms] for vm in vms})
    order.prepare()
    with ThreadPoolExecutor(max_workers=max(1, parallel or len(vms)), thread_name_prefix="vm") as pool:
        running: set[Future[Outcome]] = set()
        try:
            while order.is_active():
                for vm in order.get_ready():
                    missing = tuple(other for other in needs.get(vm, ()) if other in failed)
                    if missing:
                        running.add(_completed(Outcome(vm, missing=missing)))
                    else:
                        running.add(pool.submit(guarded, vm))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for outcome in (future.result() for future in done):
                    outcomes[outcome.vm] = outcome
                    if outcome.error:
                        report_now(outcome.error)
                    if outcome.error or outcome.skipped:
                        failed.add(outcome.vm)
                    order.done(outcome.vm)
        except KeyboardInterrupt:
            try:
                services.cancel.cancel()
            except KeyboardInterrupt:  # pressed again, perhaps before the threads were told
                services.cancel.cancel()
            raise _interrupted(wait(running).done) from None
    services.cancel.raise_if_cancelled()
    return (*(outcomes[vm] for vm in vms), *(Outcome(vm, error=error) for vm, error in failures.items()))


def _completed(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def _interrupted(ended: Iterable[Future[Outcome]]) -> Interrupted:
    """The failure of all of them, with what each adds to it."""
    outcomes = sorted((future.result() for future in ended if not future.exception()), key=lambda outcome: outcome.vm)
    stopped = [outcome.error.diagnostic for outcome in outcomes if isinstance(outcome.error, Interrupted)]
    whole = Interrupted("interrupted")
    help = dict.fromkeys(text for each in stopped for text in each.help) or whole.diagnostic.help
    return whole.enrich(notes=tuple(note for each in stopped for note in each.notes), help=tuple(help))


def failure_of(outcomes: Sequence[Outcome]) -> VmError | None:
    """The one failure that stands for all of them, or None.

    Several failures of one exit code keep that code; of different ones they are `vmctl::partial`.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if len(errors) < 2:
        return errors[0] if errors else None
    codes = {error.exit_code for error in errors}
    partial = Partial("{failed} of {all} VMs failed", {"failed": len(errors), "all": len(outcomes)})
    related = tuple(error.diagnostic for error in errors)
    connections = {each.subject.connection for each in related}
    partial.enrich(related=related, subject=Subject(connection=connections.pop() if len(connections) == 1 else None))
    return partial.enrich(exit_code=codes.pop()) if len(codes) == 1 else partial


def raise_for_failure(outcomes: Outcome | Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Hand the outcomes on if none of them is a failure.

    Raises: the failure; for several, one that stands for them, with theirs in `diagnostic.related`.
    """
    outcomes = (outcomes,) if isinstance(outcomes, Outcome) else tuple(outcomes)
    failure = failure_of(outcomes)
    if failure is not None:
        raise failure.explained()
    return outcomes
