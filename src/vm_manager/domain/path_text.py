"""Texts that somebody gives where a path belongs: the content of a file instead of its name. They may be secret."""

from __future__ import annotations

import re
from os import fsencode

# One name of a path; Linux takes no more bytes. Source: limits.h, NAME_MAX.
_LONGEST_NAME = 255
_KINDS = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PRIVATE KEY( BLOCK)?-----"), "the text of a private key"),
    (re.compile(r"(?:^|\s)(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+\s+AAAA[A-Za-z0-9+/]{16}"), "the text of a public key"),
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----"), "the text of a key or certificate"),
    # What cloud-init takes. Source: its manual, "User-data formats".
    (re.compile(r"\A\s*(?:#cloud-|#include|## template:|Content-Type: )"), "the text of user-data"),
    (re.compile(r"\A\s*#!\s*/"), "the text of a script"),
    (re.compile(r"[\n\r]"), "a text of several lines"),
)
_URL = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")


def no_path(text: str) -> str | None:
    """What a text is if it is no path: "the text of a private key"; None: it may be one."""
    for pattern, what in _KINDS:
        if pattern.search(text):
            return what
    if any(len(fsencode(name)) > _LONGEST_NAME for name in text.split("/")):
        return "a long text"
    return "a URL" if _URL.match(text) else None


def is_content(text: str) -> bool:
    """Whether a text is the content of a file, which is not to be shown."""
    return no_path(text) not in (None, "a URL")
