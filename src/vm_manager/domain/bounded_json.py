"""JSON that somebody else wrote: a guest, a server, QEMU. No more of it is read than the reader expects, and no deeper.

A document of a megabyte of brackets is parsed by recursion, into a hundred times its size; so its depth is counted first.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

#: Deeper than anything that is read here: QEMU's `query-block` is some ten deep, a manifest four.
MAX_DEPTH = 32

# A string as a whole, also one that does not end; else a bracket. Nothing in it is tried twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class Unreadable(ValueError):
    """It is no JSON, or more of it than is read. Translated by whoever reads; never leaves the library."""


def parse(document: bytes | str, *, most_bytes: int) -> object:
    """The value of a document. Raises: `Unreadable`, never anything else."""
    text = require_bounded(document, most_bytes=most_bytes)
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from None


def require_bounded(document: bytes | str, *, most_bytes: int) -> str:
    """The text of a document that is neither too long nor too deep; whether it is JSON is not said.

    most_bytes: for a text, characters. Raises: `Unreadable`.
    """
    if len(document) > most_bytes:
        raise Unreadable(f"more than {most_bytes} bytes")
    try:
        text = document if isinstance(document, str) else document.decode()
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    depth = 0
    for token in _TOKEN.finditer(text):
        bracket = text[token.start()]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable(f"nested more than {MAX_DEPTH} deep")
        elif bracket in "]}":
            depth -= 1
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
