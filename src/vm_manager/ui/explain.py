"""`vmctl explain`: what a code means, in words."""

from __future__ import annotations

from collections.abc import Iterable

from vm_manager.diagnostics.registry import Code

_FAULTS = {
    "usage": "command line",
    "config": "configuration",
    "host": "host",
    "guest": "guest",
    "remote": "remote server",
    "vmctl": "vmctl",
}


def explain_lines(entry: Code, example: str | None) -> Iterable[str]:
    """The page of a code, as lines."""
    yield f"{entry.code}  (number {entry.number}, exit status {entry.exit_code}, since {entry.since})"
    yield ""
    yield entry.meaning
    if entry.awaits:
        yield f"This version of vmctl never ends with it: it is for {entry.awaits}, not supported yet."
    yield f"Fault: {_FAULTS[entry.fault.value]}. Kind: {entry.kind}."
    yield ""
    yield "Likely causes, most likely first:"
    yield from (f"  {number}. {cause}" for number, cause in enumerate(entry.causes, 1))
    yield ""
    yield f"What to do: {entry.help}"
    if example:
        yield ""
        yield "Example:"
        yield from (f"  {line}".rstrip() for line in example.splitlines())


def code_list_lines(entries: Iterable[Code]) -> Iterable[str]:
    """The table of all codes."""
    rows = [("NO", "EXIT", "CODE"), *((str(entry.number), str(entry.exit_code), entry.code) for entry in entries)]
    return (f"{number:>3}  {exit_code:>4}  {code}" for number, exit_code, code in rows)
