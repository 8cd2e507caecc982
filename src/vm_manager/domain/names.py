"""Names of virtual machines: each becomes a directory, a host name and a file name."""

from __future__ import annotations

import re

# RFC 1123, section 2.1, and RFC 1035, section 2.3.4: letters, digits and hyphens, no hyphen at either end, 63 at most.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def is_vm_name(name: str) -> bool:
    """Whether `name` is an RFC 1123 label, and thus can never leave its directory."""
    return _LABEL.fullmatch(name) is not None


def closest(word: str, candidates: tuple[str, ...]) -> str | None:
    """The one candidate that `word` was probably meant to be, or None.

    Damerau-Levenshtein distance of at most min(3, len(word) // 3), at least 1.
    """
    limit = max(1, min(3, len(word) // 3))
    ranked = sorted((_distance(word.lower(), candidate.lower()), candidate) for candidate in candidates)
    return ranked[0][1] if ranked and ranked[0][0] <= limit else None


def _distance(a: str, b: str) -> int:
    before, previous, current = [0] * (len(b) + 1), list(range(len(b) + 1)), [0] * (len(b) + 1)
    for i, x in enumerate(a, 1):
        current[0] = i
        for j, y in enumerate(b, 1):
            current[j] = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                current[j] = min(current[j], before[j - 2] + 1)
        before, previous, current = previous, current, before
    return previous[len(b)]
