"""Values of our types from JSON and plain data, by msgspec, from any number of threads.

msgspec gathers what it must know of a class when that is first used, and lets other threads see it half done: two VMs whose
records were first read at the same moment killed the process with SIGSEGV (seen with msgspec 0.22). Here one thread gathers
at a time.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")

_gathering = Lock()


def decode(content: bytes | str, kind: type[_T]) -> _T:
    """JSON as a value of that type. Raises: `msgspec.MsgspecError`, `ValueError`, `RecursionError`."""
    decoder: msgspec.json.Decoder[_T] = _decoder(kind)
    return decoder.decode(content)


def convert(value: object, kind: type[_T]) -> _T:
    """Plain data as a value of that type. Raises: `msgspec.ValidationError`, `RecursionError`."""
    _decoder(kind)
    return msgspec.convert(value, kind)


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    with _gathering:
        return _gathered(kind)


@cache
def _gathered(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
