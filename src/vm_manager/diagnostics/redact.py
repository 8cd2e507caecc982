"""What must never be shown, logged or sent: taken out of every text that quotes somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterable

_REPLACED = "…"
_PATTERNS = (
    # user:password@ in URLs
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]*(?=@)"),
    # HTTP's Authorization and the like
    re.compile(r"(?i)(?<=authorization: )\S+ \S+|(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    # GitHub's tokens, by their published prefixes
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    # password=…, token: …, secret = …
    re.compile(r"(?i)(?<![\w-])(?:(?<=password=)|(?<=passwd=)|(?<=token=)|(?<=secret=)|(?<=api_key=))[^\s&;,'\"]+"),
)
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


def redact(text: str) -> str:
    """One text without credentials; a private key in it is replaced as a whole."""
    return "\n".join(redact_lines(text.split("\n")))


def redact_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines without credentials; those of a private key are replaced by one."""
    kept: list[str] = []
    in_key = False
    for line in lines:
        if not in_key and _KEY_BEGIN.search(line):
            kept.append("(a private key)")
            in_key = _KEY_END.search(line) is None
        elif in_key:
            in_key = _KEY_END.search(line) is None
        else:
            kept.append(_redact_line(line))
    return tuple(kept)


def _redact_line(line: str) -> str:
    for pattern in _PATTERNS:
        line = pattern.sub(_REPLACED, line)
    return line
