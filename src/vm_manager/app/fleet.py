"""The same work on several VMs at once: a thread each, one cancel token for all, every failure reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from vm_manager.app.services import Services
from vm_manager.diagnostics.errors import Interrupted, Partial, VmError


@dataclass(frozen=True)
class Outcome:
    """How the work on one VM ended. summary: what was done, past tense; error: why not, or None."""

    vm: str
    summary: str
    error: VmError | None = None


def on_each(
    services: Services, vms: Sequence[str], work: Callable[[str], str], failures: Mapping[str, VmError] | None = None
) -> tuple[Outcome, ...]:
    """Do `work` for every VM at once; it returns what it did. One that fails does not stop the others.

    failures: VMs that could not even be looked at; their outcomes come last.
    Raises: `vmctl::interrupted` after Ctrl-C, when every thread has ended.
    """

    def guarded(vm: str) -> Outcome:
        try:
            return Outcome(vm, work(vm))
        except VmError as error:
            return Outcome(vm, "failed", error)

    with ThreadPoolExecutor(max_workers=max(1, len(vms)), thread_name_prefix="vm") as pool:
        futures: list[Future[Outcome]] = [pool.submit(guarded, vm) for vm in vms]
        try:
            wait(futures)
        except KeyboardInterrupt:
            services.cancel.cancel()
            wait(futures)
            raise Interrupted("interrupted") from None
    outcomes = tuple(future.result() for future in futures)
    services.cancel.raise_if_cancelled()
    return (*outcomes, *(Outcome(vm, "failed", error) for vm, error in (failures or {}).items()))


def failure_of(outcomes: Sequence[Outcome]) -> VmError | None:
    """The one failure that stands for all of them, or None.

    Several failures of one exit code keep that code; of different ones they are `vmctl::partial`.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if len(errors) < 2:
        return errors[0] if errors else None
    codes = {error.exit_code for error in errors}
    partial = Partial("{failed} of {all} VMs failed", {"failed": len(errors), "all": len(outcomes)})
    partial.enrich(related=tuple(error.diagnostic for error in errors))
    return partial.enrich(exit_code=codes.pop()) if len(codes) == 1 else partial
