"""Mistakes on the command line: what Typer says of them, in vmctl's words and with what was probably meant."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import typer

from vm_manager.cli.peers import ADVICE, MISSING, OPTIONS, SAME, SHOW_NAMES
from vm_manager.diagnostics.errors import Usage
from vm_manager.domain.names import closest

# Its words are those of its types.
_WORDS = (
    (re.compile(r"is not a valid (?:int|integer)(?: range)?\b"), "is not a whole number"),
    (re.compile(r"is not a valid float(?: range)?\b"), "is not a number"),
    (re.compile(r"is not in the range x?>=(\S+)$"), r"is less than \1"),
    (re.compile(r"is not in the range (\S+?)<=x<=(\S+)$"), r"is not between \1 and \2"),
)  # fmt: skip

_EXTRA = re.compile(r"unexpected extra argument\(s\) \((.*)\)$")
_MISSING = re.compile(r"missing (?:argument|option) '(.*)'$")
_NAMED = re.compile(r"did you mean `(--[a-z-]+)`")
# Options of commands that some tools want before them.
_LATER = ("-f", "--file", "--name", "--json")
_NO_OPTIONS = "vmctl passes no options to OpenSSH: `vmctl -v ssh NAME` shows the command line"
_AFTER = "write it after the command, as in `vmctl up --file VMFile.kdl`"


def usage(error: typer.TyperException) -> Usage:
    """The failure for what Typer could not read."""
    option = getattr(error, "option_name", "")  # one that does not exist
    text = " ".join((error.message if option else error.format_message()).split()).rstrip(".")
    for typers, ours in _WORDS:
        text = typers.sub(ours, text)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "vmctl"
    known = {name for parameter in context.command.params for name in parameter.opts} if context else set()
    meant = _meant(command.partition(" ")[2], option, known)
    if extra := _EXTRA.search(text):
        text, meant = f"unexpected argument: {shlex.quote(extra[1])}", _as_option(command, extra[1], known)
    if lacks := _MISSING.search(text[:1].lower() + text[1:]):
        meant = MISSING.get(lacks[1], {}).get(command.partition(" ")[2]) or (SHOW_NAMES if "NAME" in lacks[1] else None)
    if not meant and (near := closest(option, tuple(known))):
        meant = f"did you mean `{near}`?"
    help = (*((meant,) if meant else ()), f"run `{command} --help`")
    return Usage("{problem}", {"problem": text[:1].lower() + text[1:]}, help=help)


def option_for_openssh(word: str) -> Usage:
    """The failure for `vmctl ssh NAME -- -L …`: what follows is run in the guest, where no program is called that."""
    advice = OPTIONS["ssh"].get(word[:2] if not word.startswith("--") else word, _NO_OPTIONS)
    help = (advice.format(option=word), "run `vmctl ssh --help`")
    return Usage("'{word}' is an option, not a command", {"word": word}, help=help)


def unknown_command(context: Any, name: str, known: Sequence[str]) -> Usage:
    """The failure for a command that does not exist. known: those that do."""
    peers = {word for same in SAME if name in same for word in same}
    advice = ADVICE.get(name) if context.parent is None else None
    near = next((word for word in known if word in peers), None) or closest(name, tuple(known))
    meant = (advice,) if advice else (f"did you mean `{context.command_path} {near}`?",) if near else ()
    return Usage("no such command: '{name}'", {"name": name}, help=(*meant, f"run `{context.command_path} --help`"))


def _meant(command: str, option: str, known: AbstractSet[str]) -> str | None:
    """What somebody meant by an option that the command does not have; "" is the command line's beginning."""
    if not command:
        return _AFTER if option in _LATER else None
    advice = OPTIONS.get(command, {}).get(option) or OPTIONS[""].get(option)
    named = _NAMED.search(advice) if advice else None
    return None if advice is None or (named and named[1] not in known) else advice.format(option=option)


def _as_option(command: str, word: str, known: AbstractSet[str]) -> str | None:
    """How an argument that the command does not take is given to it."""
    if "--file" in known and (word.endswith(".kdl") or os.path.isfile(word)):
        return f"did you mean `{command} --file {shlex.quote(word)}`?"
    return None
