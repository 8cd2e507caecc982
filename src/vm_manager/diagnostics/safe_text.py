"""Text that may come from a guest, a file or a server, made unable to drive the terminal."""

from __future__ import annotations

import re

# C0 but for tab, DEL and C1 (ECMA-48), and the marks that reorder text (Unicode TR 9).
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SUSPECT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# CSI, OSC and other escape sequences, dropped whole so that no "[31m" is left over.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)


def is_safe(text: str) -> bool:
    """Whether each of its lines is safe as it is: a quick look, for floods."""
    return _SUSPECT.search(text) is None


def safe_line(text: str) -> str:
    """One line without control characters and escape sequences; surrogates are replaced."""
    text = _ESCAPES.sub("", text)
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()


def safe_lines(text: str) -> list[str]:
    """The lines of a text, each made safe; a carriage return starts a line over, as a terminal would show it."""
    return [safe_line(line.rstrip("\r").rsplit("\r", 1)[-1]) for line in text.split("\n")]
