"""What QEMU answers, read with care: an answer of another shape than its QAPI has is one without content.

QEMU is what a guest has in its hands if it breaks out of it.
"""

from __future__ import annotations

from collections.abc import Mapping

_Object = Mapping[str, object]


def mapping(answer: object) -> _Object:
    """An object; else an empty one."""
    return answer if isinstance(answer, dict) else {}


def mappings(answer: object) -> list[_Object]:
    """The objects of a list; else none."""
    return [entry for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []


def number(answer: _Object, name: str) -> int:
    """A whole number of an object; else 0."""
    value = answer.get(name)
    return value if isinstance(value, int) else 0


def run_state(answer: object) -> str:
    """The RunState that `query-status` answers, for example running, paused, guest-panicked; else "unknown"."""
    return str(mapping(answer).get("status", "unknown"))


def chardev(answer: object, label: str) -> _Object:
    """The character device of that name that `query-chardev` answers; else an empty one."""
    return next((device for device in mappings(answer) if device.get("label") == label), {})
