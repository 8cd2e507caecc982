"""What the core says while it works. Displays draw these; nothing in the core knows how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vm_manager.diagnostics.model import Diagnostic

if TYPE_CHECKING:
    from vm_manager.domain.outcome import Done


class Stream(StrEnum):
    """Where a guest's text came from."""

    CONSOLE = "console"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True)
class StepStarted:
    """Work on a VM or an image began, such as `create` or `wait`; doing: what it will have done when it ends well."""

    vm: str
    step: str
    doing: Done


@dataclass(frozen=True)
class StepFinished:
    """The step ended well; outcome: what it did."""

    vm: str
    step: str
    outcome: Done
    elapsed_s: float


@dataclass(frozen=True)
class StepFailed:
    """The step ended badly."""

    vm: str
    step: str
    diagnostic: Diagnostic
    elapsed_s: float


@dataclass(frozen=True)
class PhaseReached:
    """The guest is now in this phase of its boot; waiting_for: what the wait is for."""

    vm: str
    phase: str
    waiting_for: str


@dataclass(frozen=True)
class Progressed:
    """A countable step moved on; total is None when it is not known."""

    vm: str
    step: str
    current: int
    total: int | None
    unit: str


@dataclass(frozen=True)
class GuestOutput:
    """Text from the guest as it arrived: not necessarily whole lines, and not to be trusted."""

    vm: str
    stream: Stream
    text: str


@dataclass(frozen=True)
class Warned:
    """Something that the user should know and that stops nothing; vm is None when it concerns none."""

    vm: str | None
    diagnostic: Diagnostic


@dataclass(frozen=True)
class Noticed:
    """Something worth a line that asks for nothing, such as what an interrupted command had left behind; text: a line."""

    vm: str
    text: str


Event = StepStarted | StepFinished | StepFailed | PhaseReached | Progressed | GuestOutput | Warned | Noticed
EventSink = Callable[[Event], None]
