"""What a provisioning step says: passed on as it comes, kept in `provision.log`, and its end remembered for the diagnostic."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from vm_manager.diagnostics.excerpt import excerpt
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.diagnostics.safe_text import is_safe, safe_line
from vm_manager.domain.events import EventSink, GuestOutput, Stream
from vm_manager.state.files import private
from vm_manager.state.log_rotation import CAP_BYTES, rotate

_TAIL_LINES = 10
_TAIL_CHARS = 4096
_HIDDEN = "…"
# What is shorter is no secret, but a part of many words.
_SHORTEST_SECRET = 3
_LONGEST_LINE = 64 * 1024
# A line that does not end, such as a question that nobody answers, shall be found in the log all the same.
_UNFINISHED_S = 1.0


class Secrets:
    """Values that are not quoted: those of a step's environment variables."""

    def __init__(self, values: Iterable[str]) -> None:
        lines = {part for value in values for part in (value, *value.splitlines())}
        # The longest first: one may be a part of another.
        self._values = sorted((value for value in lines if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)
        self.longest = max(map(len, self._values), default=0)
        self._pattern = re.compile("|".join(map(re.escape, self._values))) if self._values else None

    def hidden_in(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text

    def without_rest(self, text: str) -> str:
        """A text that was cut off in front, without the rest of one that the cut went through."""
        rests = (n for value in self._values for n in range(len(value) - 1, 0, -1) if text.startswith(value[-n:]))
        return text[max(rests, default=0) :]


class StepOutput:
    """Hears one step."""

    def __init__(self, vm: str, emit: EventSink, log: ProvisionLog, secrets: Secrets) -> None:
        self._vm, self._emit, self._log, self._secrets = vm, emit, log, secrets
        self._keep = _TAIL_CHARS + 2 * secrets.longest
        self._tail, self._cut = "", False

    def __call__(self, stream: Stream, text: str) -> None:
        """Take in what came from one of its outputs."""
        self._emit(GuestOutput(self._vm, stream, text))
        self._log.text(stream, text)
        self._cut = self._cut or len(self._tail) + len(text) > self._keep
        self._tail = (self._tail + text)[-self._keep :]

    @property
    def tail(self) -> str:
        """The end of what it said, with all that is secret."""
        return self._tail

    def evidence(self) -> Evidence:
        """Its last lines, without secrets."""
        text = self._secrets.without_rest(self._tail) if self._cut else self._tail
        text = self._secrets.hidden_in(text)
        lines = text[-_TAIL_CHARS:].splitlines()
        truncated = self._cut or len(text) > _TAIL_CHARS or len(lines) > _TAIL_LINES
        return Evidence("provision", "output of the step", excerpt(lines, _TAIL_LINES), str(self._log.path), truncated)


class ProvisionLog:
    """`provision.log`: every line with its time and stream. A context manager.

    It begins anew when it has grown large. What a guest says is written without escape sequences and control characters, so
    that reading the file is safe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._open()
        self._rest = {Stream.STDOUT: "", Stream.STDERR: ""}
        self._since_s = 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._write(self._unfinished())
        finally:
            self._file.close()

    def _open(self) -> None:
        with os_errors(self.path):
            self._file: IO[str] = open(self.path, "a", encoding="utf-8", errors="replace", opener=private)  # noqa: SIM115
            self._size = self.path.stat().st_size

    def line(self, text: str) -> None:
        """Write a line of vmctl's own."""
        self._write([*self._unfinished(), " ".join(text.split())])

    def text(self, stream: Stream, text: str) -> None:
        """Write what a step said, line by line."""
        *lines, rest = (self._rest[stream] + text).split("\n")
        while len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest[:_LONGEST_LINE]], rest[_LONGEST_LINE:]
        if lines or not self._rest[stream]:
            self._since_s = time.monotonic()
        self._rest[stream] = rest
        self._write(lines, f"{stream}: ")

    def look(self) -> None:
        """Write lines that have been waiting for their end for a while; to be called now and then."""
        if any(self._rest.values()) and time.monotonic() - self._since_s > _UNFINISHED_S:
            self._write(self._unfinished())

    def _unfinished(self) -> list[str]:
        lines = [f"{stream}: {rest}" for stream, rest in self._rest.items() if rest]
        self._rest = dict.fromkeys(self._rest, "")
        return lines

    def _write(self, lines: list[str], prefix: str = "") -> None:
        if not lines:
            return
        start = f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {prefix}"
        text = "\n".join(lines)
        safe = text if is_safe(text) else "\n".join(map(safe_line, lines))
        if self._size > CAP_BYTES:
            self._file.close()
            with os_errors(self.path):
                rotate(str(self.path))
            self._open()
        with os_errors(self.path):
            self._size += self._file.write(start + safe.replace("\n", f"\n{start}") + "\n")
            self._file.flush()
