"""Files of other tools that somebody passes as a VMFile, told by their first line that says anything."""

from __future__ import annotations

import re
from itertools import islice

_MOST_LINES = 200
_VAGRANT = re.compile(r"^[ \t]*Vagrant\.configure\b", re.MULTILINE)
_FENCE = re.compile(r"^```", re.MULTILINE)
# None of these can begin a VMFile: a node's name is a word, and none that it knows ends in a colon.
_LANGUAGES = (
    (re.compile(r"\s*<(?!<)"), "XML or HTML"),
    (re.compile(r"\s*\[\[?[\w.\" -]+\]\]?\s*$"), "TOML or INI"),
    (re.compile(r"\s*[{\[]"), "JSON"),
    (re.compile(r"---(\s|$)|\s*(- )?[\"\']?[A-Za-z_][\w.-]*[\"\']?:(\s|$)"), "YAML"),
    (re.compile(r"\s*(resource|provider|terraform|variable|module|data|locals)\b[^{]*\{\s*$"), "Terraform"),
    (re.compile(r"#!\s*/"), "a script"),
)


def language_of(text: str) -> str | None:
    """What a text is written in, if that is clearly not KDL: "YAML"."""
    if _VAGRANT.search(text):
        return "a Vagrantfile"
    if _FENCE.search(text):
        return "Markdown"
    lines = islice((line for line in text.removeprefix("\ufeff").splitlines() if line.strip()), _MOST_LINES)
    first = next((line for line in lines if line.startswith("#!") or not line.lstrip().startswith(("#", "//"))), "")
    return next((language for pattern, language in _LANGUAGES if pattern.match(first)), None)
