"""Names of virtual machines: each becomes a directory, a host name and a file name."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from os.path import commonprefix

# RFC 1123, section 2.1, and RFC 1035, section 2.3.4: letters, digits and hyphens, no hyphen at either end, 63 at most.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

# A file or a registry may have names without number, all made to be as near as can be.
_MAX_LETTERS = 128  # of a tag of a registry
_MAX_CANDIDATES, _MAX_STEPS = 20_000, 10_000


def is_vm_name(name: str) -> bool:
    """Whether `name` is an RFC 1123 label, and thus can never leave its directory."""
    return _LABEL.fullmatch(name) is not None


def closest(word: str, candidates: tuple[str, ...]) -> str | None:
    """The one candidate that `word` was probably meant to be, or None.

    Damerau-Levenshtein distance of at most min(3, len(word) // 3); of equally near ones the one that begins alike.
    It is a hint and no more: of very many or very long names not all are compared, so that it takes a tenth of a second at most.
    """
    limit = min(3, len(word) // 3)
    if len(word) > _MAX_LETTERS:
        return None
    wanted, steps = word.lower(), _MAX_STEPS
    letters = Counter(wanted)
    found: tuple[tuple[int, int], str] | None = None
    # Words whose lengths differ by more cannot be nearer.
    for candidate in islice((one for one in candidates if abs(len(one) - len(word)) <= limit), _MAX_CANDIDATES):
        lower = candidate.lower()
        if sum(count - min(count, lower.count(letter)) for letter, count in letters.items()) > limit:
            continue  # too few letters in common
        distance, taken = _distance(wanted, lower, limit)
        if distance <= limit:
            nearness = distance, -len(commonprefix([word, candidate]))  # noqa: RUF071 - of characters
            if found is None or nearness < found[0]:
                found = nearness, candidate
        steps -= taken
        if steps <= 0:
            break
    return found[1] if found else None


def _distance(a: str, b: str, limit: int) -> tuple[int, int]:
    """The distance of two words, or anything above `limit`; and how many letters of the first were gone through for it.

    Only what is at most `limit` off the diagonal is worked out: everything else is farther away than that.
    """
    before, previous, current = [0] * (len(b) + 2), list(range(len(b) + 2)), [0] * (len(b) + 2)
    for i, x in enumerate(a, 1):
        first, last = max(1, i - limit), min(len(b), i + limit)
        current[first - 1] = i if first == 1 else limit + 1
        for j in range(first, last + 1):
            y = b[j - 1]
            nearest = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                nearest = min(nearest, before[j - 2] + 1)
            current[j] = nearest
        current[last + 1] = limit + 1
        # One change of places adds one to what is two rows above, whose least is at least that of this row less one.
        if min(current[first - 1 : last + 1]) > limit:
            return limit + 1, i
        before, previous, current = previous, current, before
    return (previous[len(b)] if abs(len(a) - len(b)) <= limit else limit + 1), len(a)
