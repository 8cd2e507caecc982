"""What must never be shown, logged or sent: taken out of every text that quotes somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_HIDDEN = "…"
_PATTERNS = (
    # user:password@ and token@ in URLs; a user alone is a secret in those of HTTP only
    (re.compile(r"(?i)(\bhttps?://)[^/\s?#'\"]*@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(://)[^/\s:@]*:[^/\s@]*@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(?i)\b(authorization: )(?:basic|bearer|digest|negotiate|token) \S+"), rf"\1{_HIDDEN}"),
    # a token, and not the next word of a sentence
    (re.compile(r"(?i)\b(bearer )(?=\S*[\d.])[\w.~+/=-]{8,}"), rf"\1{_HIDDEN}"),
    # GitHub's tokens, by their published prefixes
    (re.compile(r"\b(?:gh[pousr]|github_pat)_\w{20,}"), _HIDDEN),
    # password=…, "token": "…", secret = …
    (
        re.compile(
            r"(?i)((?:password|passwd|token|secret|api_?key|access_key|signature|(?<=[?&])sig)[\"']?(?:=| = |: ?))"
            r"(?!\s)(?:\"[^\"]*\"|'[^']*'|[^\s&;,'\"]+)"
        ),
        rf"\1{_HIDDEN}",
    ),
)
# One look, for floods: without any of these no pattern matches.
_SUSPECT = re.compile(r"(?i)://|authorization|bearer|gh[pousr]_|github_pat|passw|token|secret|key|signature|sig")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"\s*[A-Za-z0-9+/=]+\s*")
_KEY = "(a private key)"
# PyYAML's and so cloud-init's errors quote the line of user-data that they mean, and mark a place in it below. A console puts a
# prefix before each line. Source: PyYAML's error.py.
_YAML_MARK = re.compile(r'in "<(?:unicode|byte) string>", line \d+, column \d+:$')
_YAML_CARET = re.compile(r"(?:^|: )\s*\^$")


def redact(text: str) -> str:
    """One text without credentials; a private key in it is replaced as a whole."""
    return "\n".join(redact_lines(text.split("\n")))


def redact_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines without credentials, and without what errors of YAML quote.

    Those of a private key are replaced by one, also when its beginning was cut off.
    """
    kept: list[str] = []
    in_key = False
    for line in _without_yaml(lines):
        if in_key:
            in_key = _KEY_END.search(line) is None
        elif _KEY_BEGIN.search(line):
            kept.append(_KEY)
            in_key = _KEY_END.search(line) is None
        elif _KEY_END.search(line):
            while kept and _KEY_BODY.fullmatch(kept[-1]):
                kept.pop()
            kept.append(_KEY)
        else:
            kept.append(_redact_line(line))
    return tuple(kept)


def _without_yaml(lines: Iterable[str]) -> Iterator[str]:
    quoted = 0
    for line in lines:
        end = line.rstrip()
        marks = _YAML_MARK.search(end) is not None
        if not marks and (quoted == 2 or (quoted and _YAML_CARET.search(end))):
            quoted -= 1
            continue
        quoted = 2 if marks else 0
        yield line


def _redact_line(line: str) -> str:
    if not _SUSPECT.search(line):
        return line
    for pattern, replacement in _PATTERNS:
        line = pattern.sub(replacement, line)
    return line
