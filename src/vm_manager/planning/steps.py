"""Which provisioners are still to be run, and how far a run has come.

A step is known by its words and the content of its file, not by its place. A run goes on from the first step that has not
succeeded, as an image is built on from the first line that was changed: those behind it may need what it does. A step that the
VMFile has no more is passed over.
"""

from __future__ import annotations

from dataclasses import replace

from vm_manager.domain.instance import Progress
from vm_manager.domain.spec import Provisioner, VmSpec


def steps_to_do(spec: VmSpec, progress: Progress) -> tuple[int, ...]:
    """The indexes of the provisioners behind those that are done, but for those that run once and have."""
    behind = range(_done(spec, progress)[0], len(spec.provisioners))
    return tuple(index for index in behind if not _is_settled(spec.provisioners[index], progress))


def why_steps(spec: VmSpec, progress: Progress, steps: tuple[int, ...]) -> str:
    """Why these steps are to be run."""
    count = f"{len(steps)} of {len(spec.provisioners)} steps to run"
    edited = bool(_done(spec, progress)[1])
    return f"{count}: step {steps[0] + 1} is new or has changed" if edited else count


def before_steps(spec: VmSpec, progress: Progress) -> Progress:
    """The progress when `steps_to_do` are about to be run: what others have done no longer counts."""
    count = _done(spec, progress)[0]
    return replace(progress, done=_identities(spec.provisioners[:count]))


def after_step(spec: VmSpec, progress: Progress, index: int) -> Progress:
    """The progress when the provisioner with this index has succeeded, in whatever order."""
    step = spec.provisioners[index]
    if step.once and not _is_settled(step, progress):
        progress = replace(progress, once_done=(*progress.once_done, step.identity))
    count, others = _done(spec, progress)
    if index < count or not all(_is_settled(other, progress) for other in spec.provisioners[count:index]):
        return progress
    behind = spec.provisioners[index + 1 :]
    kept = (identity for identity in others if any(other.is_known_as(identity) for other in behind))
    return replace(progress, done=(*_identities(spec.provisioners[: index + 1]), *kept))


def _done(spec: VmSpec, progress: Progress) -> tuple[int, tuple[str, ...]]:
    """How many of the steps are done, from the first on; and the identities of others that are."""
    left = progress.done
    for index, step in enumerate(spec.provisioners):
        place = next((place for place, identity in enumerate(left) if step.is_known_as(identity)), None)
        if place is not None:
            left = left[place + 1 :]
        elif not _is_settled(step, progress):
            return index, left
    return len(spec.provisioners), ()


def _identities(steps: tuple[Provisioner, ...]) -> tuple[str, ...]:
    return tuple(step.identity for step in steps)


def _is_settled(step: Provisioner, progress: Progress) -> bool:
    return step.once and any(step.is_known_as(identity) for identity in progress.once_done)
