"""Prints nodes in the canonical form of the KDL project's test cases (`expected_kdl/`).

That form has one node to a line, arguments before properties, properties sorted with the last of a key alone, strings
bare where they can be, numbers in decimal and four spaces to a level.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from vm_manager.vmfile.nodes import Node, Scalar, Value

_BARE = re.compile(r'(?![+-]?\.?[0-9])[^\s\\/(){};\[\]"#=\u0000-\u0020\ufeff]+')
_KEYWORDS = {"true", "false", "null", "inf", "-inf", "nan"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def print_document(nodes: Iterable[Node]) -> str:
    """The canonical form of a document; a single empty line when there is no node."""
    return "".join(_lines(nodes, "")) or "\n"


def _lines(nodes: Iterable[Node], indent: str) -> Iterable[str]:
    for node in nodes:
        block = " {" if node.children else ""
        yield f"{indent}{_head(node)}{block}\n"
        yield from _lines(node.children, indent + "    ")
        if node.children:
            yield f"{indent}}}\n"


def _head(node: Node) -> str:
    properties = {prop.key: prop.value for prop in node.properties}
    entries = [_value(argument) for argument in node.arguments]
    entries += [f"{_string(key)}={_value(properties[key])}" for key in sorted(properties)]
    return " ".join([_tagged(node.tag, _string(node.name)), *entries])


def _value(value: Value) -> str:
    return _tagged(value.tag, _scalar(value.value))


def _tagged(tag: str | None, text: str) -> str:
    return text if tag is None else f"({_string(tag)}){text}"


def _scalar(value: Scalar) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "#null"
    if isinstance(value, bool | float):
        return f"#{value}".lower()
    return str(value) if isinstance(value, Decimal) else f"{value:d}"


def _string(text: str) -> str:
    if _BARE.fullmatch(text) and text not in _KEYWORDS:
        return text
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'
