"""What to quote of a log: the first error and what led to it, then the end.

The end alone often holds the consequences only: a register dump, the lines of a clean-up, a second attempt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BEFORE, _AFTER = 2, 3
# Words that programs use when they give up. What says that there was none of it is no error.
_ERROR = re.compile(
    r"\b(error|failed|failure|fatal|panic|abort(ed|ing)?|assert(ion)?|cannot|can't|could not|unable to|denied|refused|killed|"
    r"triple fault|oops|segfault|no such|not found|no space left|traceback|exception)\b",
    re.IGNORECASE,
)
_NO_ERROR = re.compile(r"\b(no|0|without) (errors?|failures?)\b|\b(errors?|failures?)[:=] ?0\b", re.IGNORECASE)


def excerpt(lines: Sequence[str], count: int) -> tuple[str, ...]:
    """The last `count` lines, and before them the first error when they do not show it, with a line for what is left out."""
    rest = max(0, len(lines) - count)
    first = next((at for at, line in enumerate(lines[:rest]) if _tells_error(line)), None)
    if first is None:
        return tuple(lines[rest:])
    start, end = max(0, first - _BEFORE), min(rest, first + _AFTER + 1)
    left_out = (f"… {rest - end} lines …",) if rest > end else ()
    return (*lines[start:end], *left_out, *lines[rest:])


def _tells_error(line: str) -> bool:
    return bool(_ERROR.search(line)) and not _NO_ERROR.search(line)
