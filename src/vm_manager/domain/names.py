"""Names of virtual machines: each becomes a directory, a host name and a file name."""

from __future__ import annotations

import re
from os.path import commonprefix

# RFC 1123, section 2.1, and RFC 1035, section 2.3.4: letters, digits and hyphens, no hyphen at either end, 63 at most.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def is_vm_name(name: str) -> bool:
    """Whether `name` is an RFC 1123 label, and thus can never leave its directory."""
    return _LABEL.fullmatch(name) is not None


def closest(word: str, candidates: tuple[str, ...]) -> str | None:
    """The one candidate that `word` was probably meant to be, or None.

    Damerau-Levenshtein distance of at most min(3, len(word) // 3); of equally near ones the one that begins alike.
    """
    limit = min(3, len(word) // 3)

    def nearness(candidate: str) -> tuple[int, int]:
        return _distance(word.lower(), candidate.lower()), -len(commonprefix([word, candidate]))  # noqa: RUF071 - of characters

    # Words whose lengths differ by more cannot be nearer; a text of a megabyte must not be compared letter by letter.
    alike = [candidate for candidate in candidates if abs(len(candidate) - len(word)) <= limit]
    near = min(alike, key=nearness, default=None)
    return near if near is not None and nearness(near)[0] <= limit else None


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
