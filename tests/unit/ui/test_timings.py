"""Steps with their durations, and the phases of a boot within a wait."""

from __future__ import annotations

from vm_manager.diagnostics.errors import DiskFull
from vm_manager.domain.events import PhaseReached, StepFailed, StepFinished, StepStarted
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action
from vm_manager.ui.timings import Timings


def test_steps_in_the_order_of_their_ends_with_the_phases_of_their_own_vm() -> None:
    timings = Timings()
    for event in (
        StepStarted("web", "wait", Done(Action.WAIT)),
        PhaseReached("web", "booting", "the network"),
        StepStarted("db", "create", Done(Action.CREATE)),
        PhaseReached("web", "network up", "sshd"),
        StepFailed("db", "create", DiskFull("full").diagnostic, 0.5),
        StepFinished("web", "wait", Done(Action.WAIT), 12.34567),
    ):
        timings(event)
    (wait,) = timings.of("web")
    assert (wait["name"], wait["outcome"], wait["elapsed_s"]) == ("wait", "ready", 12.346)
    reached = wait["reached"]
    assert isinstance(reached, list)
    assert [phase["name"] for phase in reached] == ["booting", "network up"]
    assert timings.of("db") == [{"name": "create", "outcome": "failed", "elapsed_s": 0.5, "reached": []}]
    assert timings.of("nobody") == []


def test_a_step_within_a_step_ends_first() -> None:
    timings = Timings()
    for event in (
        StepStarted("web", "provision", Done(Action.PROVISION, steps=1)),
        StepStarted("web", "provision", Done(Action.PROVISION, step=1, steps=1, title="shell true")),
        StepFinished("web", "provision", Done(Action.PROVISION, step=1, steps=1), 1.0),
        StepFinished("web", "provision", Done(Action.PROVISION), 2.0),
    ):
        timings(event)
    assert [step["outcome"] for step in timings.of("web")] == ["step 1/1 succeeded", "provisioned"]
