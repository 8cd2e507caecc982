"""A step that has failed, and what is known of the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Provisioner


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A step that has failed.

    name: of the VM. status: its exit status. said: the end of its output. last: the same in lines, without secrets.
    elapsed_s: how long it ran. place: the directory that it writes to, or None. programs: what its first line needs.
    shares: the directories of this host that the guest has.
    """

    name: str
    step: Provisioner
    status: int
    said: str
    last: Sequence[str] = ()
    elapsed_s: float
    place: str | None = None
    programs: Sequence[str] = ()
    shares: Sequence[Mount] = ()


@dataclass(frozen=True)
class Finding:
    """What a step failed of.

    why: in a few words. help: what to do about it. then: what runs the step again; None: `vmctl up`.
    """

    why: str
    help: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()
    then: str | None = None
