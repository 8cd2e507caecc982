"""`vmctl explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from vm_manager.cli.session import JsonOption
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import Usage
from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES, NUMBERS, Code
from vm_manager.domain.names import closest
from vm_manager.ui.documents import code_item, document
from vm_manager.ui.explain import code_list_lines, explain_lines


def _complete_codes(incomplete: str) -> list[str]:
    return [code for code in CODES if code.startswith(incomplete)]


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE|NUMBER", help="An error code, the end of one, or its number.", autocompletion=_complete_codes
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List all codes with their exit statuses.")] = False,
    json: JsonOption = False,
) -> None:
    """Explain an error code: what it means, likely causes, what to do."""
    if list_all == (code is not None):
        raise Usage("give either a code or --list", help=("for example `vmctl explain vm::not_found`",))
    entries = tuple(CODES.values()) if code is None else (_find(code),)
    if json:
        items = [{**code_item(entry), "example": example_of(entry.code)} for entry in entries]
        current.terminal.say_raw(document(codes=items))
        return
    lines = code_list_lines(entries) if code is None else explain_lines(entries[0], example_of(entries[0].code))
    for line in lines:
        current.terminal.say(line)


def _find(wanted: str) -> Code:
    """A code by number, name, or the end of its name. Raises: `vmctl::usage`."""
    if wanted.isdecimal() and int(wanted) in NUMBERS:
        return NUMBERS[int(wanted)]
    ends = [code for code in CODES if code == wanted or code.endswith(f"::{wanted}")]
    if len(ends) == 1:
        return CODES[ends[0]]
    if ends:
        raise Usage("more than one code ends with '{code}'", {"code": wanted}, help=(f"use one of {', '.join(ends)}",))
    # What people remember of a code is its end: compare with each code from each of its words on.
    tails = {"::".join(code.split("::")[start:]): code for code in reversed(CODES) for start in range(3)}
    tail = closest(wanted, tuple(tails))
    near = tails[tail] if tail else None
    meant = (f"did you mean `{near}`?",) if near else ()
    raise Usage(
        "no such code: '{code}'", {"code": wanted}, help=(*meant, "run `vmctl explain --list` to see all codes")
    )
