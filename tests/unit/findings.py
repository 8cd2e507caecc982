"""Diagnostics and events to test with: one with something in every field, and one of every kind."""

from __future__ import annotations

from dataclasses import replace

from vm_manager.diagnostics.errors import DiskFull, Partial, SeedIsoFailed, VmFileInvalid, VmNotFound
from vm_manager.diagnostics.model import (
    Applicability,
    Diagnostic,
    Edit,
    Evidence,
    Label,
    Severity,
    Subject,
    Suggestion,
)
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.events import (
    Event,
    GuestOutput,
    Noticed,
    PhaseReached,
    Progressed,
    StepFailed,
    StepFinished,
    StepStarted,
    Stream,
    Warned,
)
from vm_manager.domain.outcome import Done
from vm_manager.domain.plan import Action

VMFILE = Source("VMFile.kdl", 'vm "web" {\n    image "disk.qcow2"\n\tvcpu 2\t// 日本\n}\n')


def labelled(marked: str = "vcpu", text: str = "not known here") -> Diagnostic:
    """A problem of a VMFile, with the edit that would mend it."""
    start = VMFILE.text.index(marked)
    span = Span(start, start + len(marked))
    return VmFileInvalid(
        "unknown `{word}` in a vm block",
        {"word": marked},
        help=("did you mean `vcpus`?",),
        labels=(Label(VMFILE, span, text), Label(VMFILE, Span(0, 2), "in this block", primary=False)),
        suggestions=(
            Suggestion("did you mean `vcpus`?", edits=(Edit(VMFILE, span, "vcpus"),)),
            Suggestion("look", argv=("vmctl", "list"), applicability=Applicability.CERTAIN),
        ),
    ).diagnostic


def full() -> Diagnostic:
    """A diagnostic with something in every field."""
    error = SeedIsoFailed(
        "the seed {path} could not be written after {count} tries",
        {"path": "/data/seed.iso", "count": 3},
        help=("make space", "or use another disk"),
        notes=("a note\nof two lines",),
        labels=labelled().labels,
        suggestions=labelled().suggestions,
        related=(labelled(), replace(VmNotFound("gone").diagnostic, related=(VmNotFound("deeper").diagnostic,))),
        evidence=(
            Evidence("console", "the console", ("one", "two"), "/data/vms/web/console.log", truncated=True),
            Evidence("qemu_log", "QEMU's log", error="Permission denied"),
        ),
        subject=Subject(vm="web", id="1111", backend="noop", connection="/data"),
        operation="create",
        elapsed_s=1.5,
        timeout_s=30,
        retryable=True,
    )
    full = DiskFull("no space left for {path}", {"path": "/data/seed.iso"})
    full.__cause__ = OSError(28, "No space left on device")
    error.__cause__ = full
    return replace(error.diagnostic, url="https://example.org/codes")


def diagnostics() -> dict[str, Diagnostic]:
    """Diagnostics of every kind, by name."""
    return {
        "least": VmNotFound("gone").diagnostic,
        "full": full(),
        "labelled": labelled(),
        "end-of-text": VmFileInvalid(
            "ends too early", labels=(Label(VMFILE, Span(len(VMFILE.text), len(VMFILE.text)), "here"),)
        ).diagnostic,
        "warning": DiskFull("nearly").as_warning(),
        "advice": replace(VmNotFound("gone").diagnostic, severity=Severity.ADVICE, exit_code=0),
        "several": Partial("{n} failed", {"n": 2}, related=(full(), labelled())).diagnostic,
        "hostile": VmNotFound("{m}", {"m": '\x1b[31m"\x00\n\r\u2028\x85\\'}, notes=("🙂\x9b",)).diagnostic,
    }


def events() -> tuple[Event, ...]:
    """Events of every kind."""
    return (
        StepStarted("web", "create", Done(Action.CREATE)),
        StepFinished("web", "create", Done(Action.CREATE), 1.25),
        StepFinished("web", "create", Done(Action.CREATE), 0),
        StepFailed("web", "create", full(), 2.0),
        PhaseReached("web", "booting", "the guest's network"),
        Progressed("web", "fetch", 1, 10, "bytes"),
        Progressed("web", "fetch", 1, None, "bytes"),
        *(GuestOutput("web", stream, '\x1b[31m"half a line\r\n\x00') for stream in Stream),
        Noticed("web", "removed its pid file and sockets"),
        Warned("web", DiskFull("nearly").as_warning()),
        Warned(None, labelled()),
    )
