"""The JSON of registries, of token servers and of Docker's configuration: somebody else's."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from vm_manager.domain.bounded_json import Unreadable, require_bounded
from vm_manager.state.decoding import decode

_T = TypeVar("_T")

# "Registries […] SHOULD enforce a limit of 4 MiB": the distribution specification, "Pushing Manifests".
MAX_BYTES = 4 * 1024**2


def decoded(document: bytes | str, type: type[_T]) -> _T:
    """A document as a value of that type. Raises: `Unreadable`, with what is wrong with it but nothing that stands in it."""
    text = require_bounded(document, most_bytes=MAX_BYTES)
    try:
        return decode(text, type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(str(error)[:200]) from None
