"""What a server wants to see before it answers: the WWW-Authenticate header. Source: RFC 9110, section 11.6.1."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# The server's word: nothing of it is tried in a second way (possessive quantifiers).
_BETWEEN = r"\s*+(?:,\s*+)*+"
_SCHEME = re.compile(rf"{_BETWEEN}({_TOKEN})(?:\s++|(?=,)|$)(?!=)")
_PARAMETER = re.compile(
    rf"{_BETWEEN}({_TOKEN})\s*+=\s*+(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\"|({_TOKEN}))\s*+(?=,|$)", re.DOTALL
)
# Headers of registries have some 200 characters.
_MOST_CHARS = 16 * 1024


@dataclass(frozen=True)
class Challenge:
    """A scheme, in lower case, with its parameters, by name in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header, up to where it stops being one; none when it is empty."""
    header, challenges = header[:_MOST_CHARS], list[Challenge]()
    at = 0
    while at < len(header):
        if challenges and (found := _PARAMETER.match(header, at)):
            value = found[3] if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
            challenges[-1].parameters.setdefault(found[1].lower(), value)
        elif found := _SCHEME.match(header, at):
            challenges.append(Challenge(found[1].lower()))
        else:
            break
        at = found.end()
    return tuple(challenges)
