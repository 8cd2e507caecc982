"""KDL 1 documents, read by kdl-py, into our nodes. Its converters tell where things stand.

Facts about kdl-py 1.2 that shape this module: a value's converter gets the offset behind the value and its text without
the type annotation; a node's converter gets the offset of its start and its `(tag)name`, after its children; decimal integers
arrive as floats; a repeated property is lost; on odd input other exceptions than ParseError leak out.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from kdl.errors import ParseError
from kdl.parsing import ParseConfig, Parser

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.nodes import Node, Property, Scalar, SyntaxProblem, Value

# kdl-py takes a second for some 100 KiB.
MAX_LENGTH = 128 * 1024

_INTEGER = re.compile(r"[+-]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_POSITION = re.compile(r"(\d+):(\d+) parse error:\s*(.*)", re.DOTALL)


class _RefusedError(Exception):
    """Carries what we do not accept, although kdl-py does, out of its parser."""

    def __init__(self, problem: SyntaxProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read(text: str) -> tuple[tuple[Node, ...], tuple[SyntaxProblem, ...]]:
    """The nodes of a KDL 1 document, or the one problem that kdl-py stops at."""
    if len(text) > MAX_LENGTH:
        message = f"more than {MAX_LENGTH // 1024} KiB of KDL 1"
        return (), (SyntaxProblem(message, Span(0, 0), "use KDL 2, or split it into several files"),)
    config = ParseConfig(
        nativeUntaggedValues=False,
        nativeTaggedValues=False,
        nodeConverters={...: lambda node, fragment: _node(text, node, fragment)},
        valueConverters={...: lambda value, fragment: _value(text, value, fragment)},
    )
    try:
        return tuple(Parser(config).parse(text).nodes), ()
    except ParseError as error:
        return (), (_problem(text, str(error)),)
    except _RefusedError as refused:
        return (), (refused.problem,)
    except (OverflowError, ValueError, RecursionError, InvalidOperation):
        return (), (SyntaxProblem("a number is too large, or the nesting too deep", Span(0, 0)),)


def _value(text: str, value: Any, fragment: Any) -> Value:
    end = fragment._i
    start = end - len(fragment.fragment)
    if value.tag is not None:
        start = text.rindex("(", 0, start)
    span = Span(start, end)
    if isinstance(value.value, str) and _SURROGATE.search(value.value):
        raise _RefusedError(
            SyntaxProblem("half of a surrogate pair is not a character", span, "write the character itself")
        )
    return Value(_scalar(value.value, fragment.fragment), span, value.tag)


def _scalar(value: Any, written: str) -> Scalar:
    if value is None or isinstance(value, (bool, str)):
        return value
    # From the text: kdl-py's numbers went through float.
    if _INTEGER.fullmatch(written):
        digits = written.replace("_", "")
        return int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10)
    return Decimal(written.replace("_", ""))


def _node(text: str, node: Any, fragment: Any) -> Node:
    start, written = fragment._i, fragment.fragment
    tag_length = len(written) - len(written.split(")", 1)[-1]) if node.tag is not None else 0
    name_span = Span(start + tag_length, start + len(written))
    properties = tuple(
        Property(key, _key_span(text, key, value.span.start), value) for key, value in node.props.items()
    )
    arguments, children = tuple(node.args), tuple(node.nodes or ())
    ends = (name_span, *(value.span for value in arguments), *(p.span for p in properties), *(c.span for c in children))
    span = Span(start, max(part.end for part in ends))
    return Node(node.name, name_span, span, arguments, properties, children, node.tag, bool(children))


def _key_span(text: str, key: str, value_start: int) -> Span:
    end = value_start - 1  # the equals sign; KDL 1 has no white space around it
    if text[:end].endswith(key):
        return Span(end - len(key), end)
    return Span(text.rindex('"', 0, max(0, end - 1)), end)


def _problem(text: str, message: str) -> SyntaxProblem:
    found = _POSITION.match(message)
    if not found:
        return SyntaxProblem(message.splitlines()[0].lower(), Span(0, 0))
    line, column, said = int(found[1]), int(found[2]), " ".join(found[3].split()).rstrip(".")
    offset = sum(len(row) + 1 for row in text.split("\n")[: line - 1]) + column - 1
    offset = min(offset, len(text))
    return SyntaxProblem(said[:1].lower() + said[1:], Span(offset, min(offset + 1, len(text))))
