"""Texts that are no paths: the content of a file instead of its name, which may be secret; and paths that are no texts."""

from __future__ import annotations

import re
import shlex
from os import fsencode
from pathlib import Path

from vm_manager.diagnostics.errors import IoFailed

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
# What stands in a text for a byte that is no UTF-8; see PEP 383.
_SURROGATE = re.compile("[\udc80-\udcff]")
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


def require_utf8(path: Path) -> None:
    """Make sure that a path can be written in JSON. Raises: `io`."""
    if _SURROGATE.search(str(path)):
        raise not_utf8(path)


def not_utf8(path: Path) -> IoFailed:
    """A path that JSON cannot hold: which directory or file on the way, and how a shell renames it."""
    bad = next(way for way in (*reversed(path.parents), path) if _SURROGATE.search(way.name))
    shown = _SURROGATE.sub(lambda sign: f"\\x{ord(sign[0]) - 0xDC00:02x}", str(bad))
    new = _SURROGATE.sub("_", str(bad))
    return IoFailed(
        "the name of {path} is not valid UTF-8, as vmctl's records and qemu-img need",
        {"path": shown},
        help=(f"rename it: `mv $'{shown}' {shlex.quote(new)}`",),
    )
