"""The words for what is done: as a step begins, in full as it ends, in short in a VM's line at the end of a command."""

from __future__ import annotations

from vm_manager.domain.instance import Endpoint
from vm_manager.domain.outcome import Done, Outcome
from vm_manager.domain.plan import Action, WaitFor

_MIB = 1024 * 1024
_PRESENT = {
    Action.FETCH: "downloading the image",
    Action.CREATE: "creating",
    Action.REPLACE: "creating the new VM beside the old one",
    Action.START: "starting",
    Action.RESUME: "resuming",
    Action.SUSPEND: "suspending",
    Action.SAVE: "saving to disk",
    Action.RESTORE: "restoring from disk",
    Action.DISCARD: "discarding the saved state",
    Action.WAIT: "waiting for the guest",
    Action.PROVISION: "provisioning",
    Action.STOP: "stopping",
    Action.DESTROY: "destroying",
    Action.SNAPSHOT_CREATE: "taking a snapshot",
    Action.SNAPSHOT_RESTORE: "restoring a snapshot",
    Action.SNAPSHOT_DELETE: "deleting a snapshot",
    Action.MIGRATE: "moving",
    Action.CONVERT: "converting",
}
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
    Action.CONVERT: "converted",
}
# What a VM's line at the end does not repeat: details that its step has told.
_IN_SHORT = (Action.CREATE, Action.START, Action.SAVE, Action.RESTORE)


def announce(doing: Done) -> str:
    """What is being done, in a few words."""
    present = _PRESENT.get(doing.action, "")
    match doing.action:
        case Action.FETCH if doing.source:
            return f"downloading {doing.source}"
        case Action.PROVISION if doing.step is not None:
            return f"step {doing.step}/{doing.steps}: {doing.title}"
        case Action.PROVISION:
            return f"{present} ({_steps(doing.steps)})"
        case Action.MIGRATE | Action.CONVERT:
            return f"{present} to {doing.to}"
    return present


def describe(what: Outcome | Done) -> str:
    """What was done, in a few words, past tense: an outcome in short, what a step did in full."""
    match what:
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
        case Action.FETCH if done.from_cache and done.source:
            return "the image is already in the cache"
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
        case Action.MIGRATE | Action.CONVERT:
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
    left_out = f", {done.steps_left_out} that {'runs' if done.steps_left_out == 1 else 'run'} once left out"
    return f"provisioned ({_steps(done.steps)}{left_out if done.steps_left_out else ''})"


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def _where(endpoint: Endpoint | None) -> str:
    return f", SSH on {endpoint}" if endpoint else ""
