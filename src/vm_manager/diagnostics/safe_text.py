"""Text that may come from a guest, a file or a server, made unable to drive the terminal."""

from __future__ import annotations

import re

# C0 but for tab, DEL and C1 (ECMA-48): dropped.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# What disguises or breaks a line: shown as its escape. Marks that reorder text (Unicode TR 9), characters without a width,
# separators of lines, fillers, tags and the like (Cf, Zl, Zp and what is ignored by default), noncharacters.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufdd0-\ufdef\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_DISGUISES = re.compile(f"[{_INVISIBLE}]")
_SUSPECT = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_INVISIBLE}]")
# JSON escapes the rest of the controls by itself.
_UNSEEN_IN_JSON = re.compile(f"[\x7f-\x9f{_INVISIBLE}]")
# CSI, OSC and other escape sequences, dropped whole so that no "[31m" is left over.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)


def is_safe(text: str) -> bool:
    """Whether each of its lines is safe as it is: a quick look, for floods."""
    return _SUSPECT.search(text) is None


def safe_line(text: str) -> str:
    """One line without control characters and escape sequences; what cannot be seen is escaped, surrogates are replaced."""
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return _DISGUISES.sub(_escaped, text).encode("utf-8", "replace").decode()


def is_plain(text: str) -> bool:
    """Whether nothing in it can disguise or break a line: what names must be."""
    return is_safe(text) and "\n" not in text


def safe_lines(text: str) -> list[str]:
    """The lines of a text, each made safe; a carriage return starts a line over, as a terminal would show it."""
    return [safe_line(line.rstrip("\r").rsplit("\r", 1)[-1]) for line in text.split("\n")]


def safe_json(document: str) -> str:
    """A JSON document that means the same; what cannot be seen, reorders text or breaks a line is escaped as JSON does."""
    return _UNSEEN_IN_JSON.sub(_escaped_in_json, document)


def _escaped_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")  # beyond U+FFFF two escapes
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{{{ord(found[0]):x}}}"
