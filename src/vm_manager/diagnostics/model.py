"""The value that every failure is: what happened, where, why, what shows it, and what to do.

Frozen to the bottom and made of plain data, so that it can be shown, logged, sent, compared and hashed. It rides on
`VmError.diagnostic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vm_manager.diagnostics.frozen import FrozenArgs
from vm_manager.diagnostics.redact import redact, redact_lines
from vm_manager.diagnostics.safe_text import safe_line
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.diagnostics.subject import Subject as Subject

# A line that somebody else wrote may be as long as all of what was read.
_LINE_CHARS = 1000


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
    lines: without credentials, whoever collected them.
    truncated: whether there was more than `lines` holds.
    error: why the evidence could not be collected, or None.
    """

    kind: str
    title: str
    lines: tuple[str, ...] = ()
    path: str | None = None
    truncated: bool = False
    error: str | None = None

    def __post_init__(self) -> None:
        # Without credentials first: a half one would not be recognised.
        safe = (_shortened(safe_line(line)) for line in redact_lines(self.lines))
        object.__setattr__(self, "lines", tuple(line for line in safe if line.strip()))
        object.__setattr__(self, "title", redact(self.title))
        for name in ("path", "error"):
            value = getattr(self, name)
            object.__setattr__(self, name, redact(value) if value else value)


def _shortened(line: str) -> str:
    return line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]}…"


class Applicability(StrEnum):
    """Whether a suggestion may be applied without asking."""

    CERTAIN = "certain"
    MAYBE = "maybe"


@dataclass(frozen=True)
class Edit:
    """Text that is to stand in place of a stretch of a source."""

    source: Source
    span: Span
    text: str


@dataclass(frozen=True)
class Suggestion:
    """A way out that a program could take: edits of a file, or a command to run."""

    message: str
    edits: tuple[Edit, ...] = ()
    argv: tuple[str, ...] = ()
    applicability: Applicability = Applicability.MAYBE

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        object.__setattr__(self, "argv", tuple(self.argv))


@dataclass(frozen=True)
class Diagnostic:
    """A failure or warning as a value.

    code, number, kind, fault, exit_code: from the registry of codes.
    message: `template` filled with `args`; one line without control characters, lower case, no final period.
    help: what to do next, most likely first; never empty for an error.
    elapsed_s, timeout_s: how long it took, and the limit it ran into, where there is one.
    retryable: whether the same command may well succeed if it is run again.
    url: where more about the code is to be read, once it is published.
    """

    code: str
    number: int
    severity: Severity
    kind: Kind
    fault: Fault
    exit_code: int
    message: str
    template: str
    args: Mapping[str, str | int] = field(default_factory=lambda: FrozenArgs({}))
    help: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    causes: tuple[Cause, ...] = ()
    related: tuple[Diagnostic, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    subject: Subject = field(default_factory=Subject)
    operation: str | None = None
    elapsed_s: float | None = None
    timeout_s: float | None = None
    retryable: bool = False
    url: str | None = None

    def __post_init__(self) -> None:
        # Here, so that no way of making one can forget it.
        args = {name: redact(value) if isinstance(value, str) else value for name, value in self.args.items()}
        object.__setattr__(self, "args", FrozenArgs(args))
        object.__setattr__(self, "message", _one_line(redact(self.message)))
        for name in ("help", "notes"):
            object.__setattr__(self, name, tuple(map(redact, _several(getattr(self, name)))))
        for name in ("labels", "suggestions", "causes", "related", "evidence"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def domain(self) -> str:
        """The part of vmctl that raised it: the code without its last word."""
        return self.code.rpartition("::")[0]

    def as_virerror(self) -> tuple[int, str, str, int, str, str | None, str | None, int, int]:
        """The nine fields of libvirt's virError, but for conn and dom, which are in `subject`.

        (code, domain, message, level, str1, str2, str3, int1, int2): level is 1 for a warning and 2 for an error, str1 the
        template, str2 and str3 its first two arguments, int1 the operating system's error number, and int2 an exit
        status or signal; 0 and None where there is none. Source: libvirt's docs/errors, virterror.h.
        """
        texts = [str(value) for value in self.args.values()]
        first, second = (*texts, None, None)[:2]
        number = next((cause.errno for cause in self.causes if cause.errno), 0)
        level = 2 if self.severity is Severity.ERROR else 1
        ended = self.args.get("status", 0)
        status = ended if isinstance(ended, int) else 0
        return self.number, self.domain, self.message, level, self.template, first, second, number, status


def _one_line(text: str) -> str:
    lines = text.splitlines()
    return safe_line(text) if len(lines) < 2 else " ".join(safe_line(line.strip()) for line in lines if line.strip())


def _several(texts: str | Iterable[str]) -> Iterable[str]:
    """One text stands for itself, and not for its letters."""
    return (texts,) if isinstance(texts, str) else texts
