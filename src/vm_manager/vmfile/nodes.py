"""KDL documents as vmctl sees them: nodes, arguments and properties, each with its place in the text.

Nothing above `vmfile.parse` knows which reader, KDL 2 or KDL 1, produced them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vm_manager.diagnostics.spans import Span

_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", Decimal: "number", float: "number", type(None): "null"}

# Integers are exact at any size. Numbers with a fraction or an exponent are Decimal; float holds only #inf, #-inf and #nan.
Scalar = str | bool | int | Decimal | float | None


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a node.

    value: a string, boolean, number or None for null.
    span: the value as written, quotes and type annotation included.
    tag: its type annotation, `(tag)value`, or None.
    """

    value: Scalar
    span: Span
    tag: str | None = None

    @property
    def type_name(self) -> str:
        """The KDL name of its type: string, boolean, integer, number or null."""
        return _TYPE_NAMES[type(self.value)]


@dataclass(frozen=True, slots=True)
class Property:
    """A `key=value` of a node; key_span covers the key as written."""

    key: str
    key_span: Span
    value: Value

    @property
    def span(self) -> Span:
        """Key and value together."""
        return self.key_span.to(self.value.span)


@dataclass(frozen=True, slots=True)
class Node:
    """A node with its arguments, properties and children in document order.

    name_span: the name as written, without its type annotation.
    span: from the type annotation or name to the end of the last argument, property or closing brace.
    properties: all as written, repeated keys included (in KDL the last one counts).
    has_block: whether a children block was written, be it empty.
    """

    name: str
    name_span: Span
    span: Span
    arguments: tuple[Value, ...] = ()
    properties: tuple[Property, ...] = ()
    children: tuple[Node, ...] = ()
    tag: str | None = None
    has_block: bool = False


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """What a reader could not make sense of.

    message: one line, lower case, no final period.
    span: the characters that are wrong.
    help: what to write instead, or None.
    related: further places with what they mean, for example the brace that was never closed.
    """

    message: str
    span: Span
    help: str | None = None
    related: tuple[tuple[Span, str], ...] = ()
