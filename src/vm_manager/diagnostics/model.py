"""The value that every failure is: what happened, where, why, what shows it, and what to do.

Frozen and made of plain data, so that it can be shown, logged, sent and compared. It rides on `VmError.diagnostic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vm_manager.diagnostics.spans import Source, Span


class Severity(StrEnum):
    """How grave it is; only an error changes the exit status."""

    ERROR = "error"
    WARNING = "warning"
    ADVICE = "advice"


class Kind(StrEnum):
    """Whether a caller should reckon with it: expected (documented per function), a failure, or a bug of vmctl."""

    EXPECTED = "expected"
    FAILURE = "failure"
    BUG = "bug"


class Fault(StrEnum):
    """Whose move it is."""

    USAGE = "usage"
    CONFIG = "config"
    HOST = "host"
    GUEST = "guest"
    REMOTE = "remote"
    VMCTL = "vmctl"


@dataclass(frozen=True)
class Label:
    """A stretch of a source text and what is wrong with it."""

    source: Source
    span: Span
    text: str
    primary: bool = True


@dataclass(frozen=True)
class Cause:
    """One link of the chain of exceptions below a failure.

    code: the vmctl code when the cause is itself a diagnosed failure.
    errno: the operating system's number when it has one.
    """

    type: str
    message: str
    code: str | None = None
    errno: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What shows that it happened: a few quoted lines and where the whole of it is.

    kind: a stable word such as qemu_log, console, process, probe, cloud_init.
    truncated: whether there was more than `lines` holds.
    error: why the evidence could not be collected, or None.
    """

    kind: str
    title: str
    lines: tuple[str, ...] = ()
    path: str | None = None
    truncated: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Subject:
    """Whom it concerns: the virtual machine, its instance id, the backend and the connection (data directory)."""

    vm: str | None = None
    id: str | None = None
    backend: str | None = None
    connection: str | None = None


@dataclass(frozen=True)
class Diagnostic:
    """A failure or warning as a value.

    code, number, kind, fault, exit_code: from the registry of codes.
    message: `template` filled with `args`; one line, lower case, no final period.
    help: what to do next, most likely first; never empty for an error.
    elapsed_s, timeout_s: how long it took, and the limit it ran into, where there is one.
    """

    code: str
    number: int
    severity: Severity
    kind: Kind
    fault: Fault
    exit_code: int
    message: str
    template: str
    args: Mapping[str, str | int] = field(default_factory=dict)
    help: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    causes: tuple[Cause, ...] = ()
    related: tuple[Diagnostic, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    subject: Subject = Subject()
    operation: str | None = None
    elapsed_s: float | None = None
    timeout_s: float | None = None
    retryable: bool = False

    @property
    def domain(self) -> str:
        """The part of vmctl that raised it: the code without its last word."""
        return self.code.rpartition("::")[0]
