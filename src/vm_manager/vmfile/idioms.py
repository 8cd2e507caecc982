"""Nodes that are written as in another tool, and say all that they should: how a VMFile has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vm_manager.domain.network import LOOPBACK, Forward, Transport, forward_of
from vm_manager.domain.spec import ProvisionerKind
from vm_manager.vmfile.nodes import Node

_MOST = 4
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})=.*", re.DOTALL)
_BIND = re.compile(
    r"(?P<source>[./~][^:\"\\\\]{0,200}):(?P<target>/[^:\"\\\\]{0,200})(?::(?P<options>[a-zA-Z,]{1,40}))?"
)
_PLAIN = re.compile(r"[^\"\\\\\n]{1,80}")
_SCRIPT = ".sh"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def forward_idiom(node: Node, quotable: str) -> str | None:
    """`forward "8080:80"`, as docker has it, and `forward 8080 80`: the same with properties; None for anything else."""
    if not 0 < len(node.arguments) <= _MOST or node.properties or node.has_block:
        return None
    words = [str(value.value) for value in node.arguments]
    if len(words) == 2 and all(word.isdecimal() for word in words):
        words = [":".join(words)]
    if node.name != "forward" and not all(":" in word for word in words):
        return None  # a `port` may be that of SSH
    found = [forward_of(word) for word in words]
    return None if None in found else "; ".join(_forward(forward) for forward in found if forward)


def _forward(forward: Forward) -> str:
    host = '"auto"' if forward.host is None else forward.host
    protocol = "" if forward.transport is Transport.TCP else f' protocol="{forward.transport}"'
    address = "" if forward.address == LOOPBACK else f' address="{forward.address}"'
    return f"forward host={host} guest={forward.guest}{protocol}{address}"


def variable_idiom(node: Node, quotable: str) -> str | None:
    """`env "NAME=value"`, as docker has it, `env NAME="value"`, and a block of them: the same as two strings; else None.

    quotable: what of the node may be quoted, which the values may not.
    """
    names = list(_variables(node))
    if not 0 < len(names) <= _MOST or None in names:
        return None
    return "; ".join(f'env "{name if name and name in quotable else "…"}" "…"' for name in names)


def _variables(node: Node) -> Iterator[str | None]:
    """The name of each variable that is set; None for what sets none."""
    for value in node.arguments:
        assigned = _ASSIGNED.fullmatch(value.value) if isinstance(value.value, str) else None
        yield assigned[1] if assigned else None
    for entry in node.properties:
        yield entry.key if _VARIABLE.fullmatch(entry.key) else None
    for child in node.children:
        alone = len(child.arguments) == 1 and not (child.properties or child.children)
        yield child.name if alone and _VARIABLE.fullmatch(child.name) else None


def mount_idiom(node: Node, quotable: str) -> str | None:
    """`volumes "./data:/data:ro"`, as docker has it, and `mount` with the same: two strings. None for its named volumes, too."""
    values = [value.value for value in node.arguments]
    if len(values) != 1 or not isinstance(values[0], str) or node.properties or node.has_block:
        return None
    found = _BIND.fullmatch(values[0]) if values[0] in quotable else None
    read_only = " read-only=#true" if found and "ro" in (found["options"] or "").split(",") else ""
    return f'mount "{found["source"]}" "{found["target"]}"{read_only}' if found else None


def provision_idiom(node: Node, quotable: str) -> str | None:
    """`provision "shell" "apt-get update"`, `provision inline="…"`: with a block. None for anything else.

    quotable: what of the node may be quoted, in which commands may be hidden.
    """
    if node.has_block:
        return None
    words = [str(value.value) for value in node.arguments]
    kind = words.pop(0) if words and words[0] in tuple(ProvisionerKind) else None
    given = {entry.key: str(entry.value.value) for entry in node.properties}
    if kind == ProvisionerKind.FILE or len(words) + len(given) != 1:
        return None
    if words and not (kind or " " in words[0] or words[0].endswith(_SCRIPT)):
        return None
    ((name, text),) = given.items() or (("script" if words[0].endswith(_SCRIPT) else "inline", words[0]),)
    if name not in ("inline", "script"):
        return None
    shown = text if text in quotable and _PLAIN.fullmatch(text) else "…"
    return f'provision {{ {name} "{shown}" }}'
