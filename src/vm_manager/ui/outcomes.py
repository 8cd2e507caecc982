"""The words for what was done: in full as a step ends, in short in a VM's line at the end of a command."""

from __future__ import annotations

from vm_manager.domain.instance import Endpoint
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action, WaitFor

_MIB = 1024 * 1024
_PAST = {
    Action.FETCH: "downloaded the image",
    Action.CREATE: "created",
    Action.REPLACE: "created the new VM",
    Action.START: "started",
    Action.RESUME: "resumed",
    Action.SUSPEND: "suspended",
    Action.SAVE: "saved to disk",
    Action.RESTORE: "restored",
    Action.DISCARD: "discarded the saved state",
    Action.WAIT: "ready",
    Action.PROVISION: "provisioned",
    Action.STOP: "stopped",
    Action.DESTROY: "destroyed",
    Action.SNAPSHOT_CREATE: "took snapshot",
    Action.SNAPSHOT_RESTORE: "restored snapshot",
    Action.SNAPSHOT_DELETE: "deleted snapshot",
    Action.MIGRATE: "moved",
}
# What a VM's line at the end does not repeat: details that its step has told.
_IN_SHORT = (Action.CREATE, Action.START, Action.SAVE, Action.RESTORE)


def describe(what: Outcome | Done | None) -> str:
    """What was done, in a few words, past tense: an outcome in short, what a step did in full.

    None, the outcome of work on an image, is `done`.
    """
    match what:
        case None:
            return "done"
        case Done():
            return _in_full(what)
        case Outcome(error=None, missing=()):
            return ", ".join(filter(None, map(_in_short, what.done)))
        case Outcome(missing=()):
            return "failed"
    names = " and ".join(f"'{name}'" for name in what.missing)
    return f"skipped: it depends on {names}, which failed or {'were' if len(what.missing) > 1 else 'was'} skipped"


def _in_full(done: Done) -> str:
    past = _PAST.get(done.action, "")
    match done.action:
        case Action.NOTHING:
            return done.cause
        case Action.FETCH if done.from_cache:
            return "the image is in the cache: another command downloaded it meanwhile"
        case Action.CREATE | Action.REPLACE if done.from_cache:
            return f"{past}, with the image from the cache"
        case Action.START | Action.RESTORE:
            return f"{past}{_where(done.ssh)}"
        case Action.SAVE:
            return f"{past} ({done.size_bytes // _MIB} MiB)"
        case Action.WAIT if done.wait_for is WaitFor.SSH:
            return "reachable by SSH"
        case Action.PROVISION if done.step is not None:
            return f"step {done.step}/{done.steps} succeeded"
        case Action.STOP if done.pid is not None:
            return f"{past} (pid {done.pid})"
        case Action.SNAPSHOT_CREATE:
            memory = f"{done.size_bytes // _MIB} MiB of memory" if done.size_bytes else "disks only"
            return f"{past} {done.tag} ({memory})"
        case Action.SNAPSHOT_RESTORE | Action.SNAPSHOT_DELETE:
            return f"{past} {done.tag}"
        case Action.MIGRATE:
            return f"{past} to {done.to}{_where(done.ssh)}"
    return past


def _in_short(done: Done) -> str:
    past = _PAST.get(done.action, "")
    match done.action:
        case Action.FETCH:
            return ""  # a part of making the VM
        case action if action in _IN_SHORT:
            return past
        case Action.REPLACE:
            memory = " and its saved state" if done.saved_state else ""
            return f"replaced by a new VM, discarding a disk with {done.size_bytes // _MIB} MiB of changes{memory}"
        case Action.DISCARD:
            return f"discarded {done.size_bytes // _MIB} MiB of saved state"
        case Action.PROVISION:
            return _provisioned(done)
        case Action.DESTROY if done.saved_state:
            return f"{past}, with its saved state"
    return _in_full(done)


def _provisioned(done: Done) -> str:
    if not done.steps and not done.steps_left_out:
        return "nothing to do: it has no provisioners"
    steps = f"{done.steps} step" if done.steps == 1 else f"{done.steps} steps"
    left_out = f", {done.steps_left_out} that {'runs' if done.steps_left_out == 1 else 'run'} once left out"
    return f"provisioned ({steps}{left_out if done.steps_left_out else ''})"


def _where(endpoint: Endpoint | None) -> str:
    return f", SSH on {endpoint.host}:{endpoint.port}" if endpoint else ""
