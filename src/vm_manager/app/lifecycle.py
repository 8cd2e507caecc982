"""`start`, `stop`, `restart`, `suspend`, `resume` and `destroy`: single VMs by name, wherever they came from."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.app.apply import Run, RunOptions, check_host
from vm_manager.app.fleet import on_each
from vm_manager.app.holding import Held, Vm, hold
from vm_manager.app.looking import look_at, require_possible, stopping
from vm_manager.app.services import Services
from vm_manager.app.strays import end_strays, named_stray, require
from vm_manager.diagnostics.errors import StateCorrupt
from vm_manager.domain.deadline import STOP_TIMEOUT_S
from vm_manager.domain.events import Warned
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action, Operation
from vm_manager.planning.lifecycle import plan_lifecycle
from vm_manager.planning.table import Verb

# Whoever asks for these by name wants nothing of that name to run, found by its files or not.
_ENDING = (Verb.STOP, Verb.DESTROY)


def lifecycle(
    services: Services, verb: Verb, names: Sequence[str], *, timeout_s: float | None = None, accept_base: bool = False
) -> tuple[Outcome, ...]:
    """Do one thing to VMs by name, all at once.

    timeout_s: for START, how long a guest may take to get ready; else, to shut down before it is made to; None: see `RunOptions`.
    accept_base: see `RunOptions`.
    Raises: `vm::not_found` before anything is done, `state::locked`; what fails for one VM, such as `vm::invalid_state`, is
    in its outcome.
    """
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if verb not in _ENDING or not named_stray(services, name):
            require(services, name, or_leftovers=verb is Verb.DESTROY)
    stop_timeout_s = STOP_TIMEOUT_S if timeout_s is None else timeout_s
    # That of RESTART is for the shutdown; the boot behind it takes as long as any other.
    wait_timeout_s = timeout_s if verb in (Verb.START, Verb.START_DISCARDING) else None
    options = RunOptions(stop_timeout_s=stop_timeout_s, wait_timeout_s=wait_timeout_s, accept_base=accept_base)
    with hold(services, wanted, f"vmctl {verb}") as held:
        return on_each(services, wanted, lambda vm: _one(services, verb, vm, held, options))


def _one(services: Services, verb: Verb, vm: str, held: Held, options: RunOptions) -> tuple[Done, ...]:
    if vm in held.strays and verb in _ENDING:
        ended = end_strays(services, held.strays[vm], options.stop_timeout_s, at_once=verb is Verb.DESTROY)
        found = look_at(services, [vm])
        done = _one(services, verb, vm, Held(*found), options) if any(vm in there for there in found) else ()
        return (*ended, *done)
    if verb is Verb.DESTROY:
        # Whatever state it is in, and whether or not its record can be read.
        known = held.instances.get(vm)
        run = Run(services, vm, Vm(services, known.record) if known else None, options)
        saved = known.saved if known else services.store.files(vm).saved_state.exists()
        return run.apply((Operation(vm, Action.DESTROY, "destroy requested", saved_state=saved),))
    try:
        instance = held.of(services, vm)
    except StateCorrupt as damaged:
        if verb is not Verb.STOP:
            raise
        damaged.enrich(help=tuple(help for help in damaged.diagnostic.help if help != stopping(vm)))
        services.emit(Warned(vm, damaged.as_warning()))
        return Run(services, vm, None, options).stop_without_record()
    require_possible(services, instance, verb)
    backend = services.backend(instance.record.backend)
    plan = plan_lifecycle(verb, instance, guests=backend.capabilities().guests)
    for warning in check_host(services, plan, (instance,)):
        services.emit(warning)
    return Run(services, vm, Vm(services, instance.record), options).apply(plan.operations)
