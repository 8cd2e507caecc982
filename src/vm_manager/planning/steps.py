"""Which provisioners are still to be run, and how far a run has come."""

from __future__ import annotations

from dataclasses import replace

from vm_manager.domain.instance import Progress
from vm_manager.domain.spec import Provisioner, VmSpec


def steps_to_do(spec: VmSpec, progress: Progress) -> tuple[int, ...]:
    """The indexes of the provisioners behind those that are done, but for those that run once and have."""
    behind = range(progress.steps_done, len(spec.provisioners))
    return tuple(index for index in behind if not _is_settled(spec.provisioners[index], progress))


def after_step(spec: VmSpec, progress: Progress, index: int) -> Progress:
    """The progress when the provisioner with this index has succeeded, in whatever order."""
    step = spec.provisioners[index]
    if step.once and step.identity not in progress.once_done:
        progress = replace(progress, once_done=(*progress.once_done, step.identity))
    between = spec.provisioners[progress.steps_done : index]
    if index >= progress.steps_done and all(_is_settled(other, progress) for other in between):
        return replace(progress, steps_done=index + 1)
    return progress


def _is_settled(step: Provisioner, progress: Progress) -> bool:
    return step.once and step.identity in progress.once_done
