"""Entries of KDL 2 nodes: arguments and properties, their type annotations, and what separates and comments them out.

Source: the KDL 2.0.0 specification (https://kdl.dev/spec), sections Argument, Property, Type Annotation and Slashdash
comments.
"""

from __future__ import annotations

import re

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2.strings import read_unclosed
from vm_manager.vmfile.kdl2.text import NEWLINE, REST_OF_LINE, SPACE, Cursor, in_quotes, past, shortened
from vm_manager.vmfile.kdl2.values import read_scalar
from vm_manager.vmfile.nodes import Property, Value

# The next character where a node may end; nothing stands for the end of the text.
NODE_ENDS = frozenset(["", ";", "}", "\n", "\r", "\x85", "\x0b", "\x0c", "\u2028", "\u2029"])

_BEFORE_EQUALS = frozenset("=/\\\t \u00a0\u1680\u202f\u205f\u3000") | {chr(code) for code in range(0x2000, 0x200B)}
_NOTED_ANYWAY = frozenset(")]=\\")
_TO_PARENTHESIS = re.compile(rf'[^{NEWLINE}{{}};"()]*\)')
_TO_SPACE = re.compile(rf"[^{SPACE}{NEWLINE};{{}}]*")
_COMMAS = re.compile(r",+")


def at_end(cursor: Cursor) -> bool:
    """Whether no value or name stands at the cursor, but the end of a node, a block or a comment."""
    return cursor.peek() in NODE_ENDS or cursor.peek() == "{" or cursor.at("//") or cursor.at("/-")


def skip_equals(cursor: Cursor) -> bool:
    """Move behind a following =, white space before it included; tells whether there is one."""
    start = cursor.pos
    if cursor.text[start : start + 1] not in _BEFORE_EQUALS:
        return False
    cursor.skip_space()
    if cursor.peek() == "=":
        cursor.pos += 1
        return True
    cursor.pos = start
    return False


def find_target(cursor: Cursor) -> bool:
    """Move from a /- to what it comments out; tells whether there is something."""
    start = cursor.pos
    cursor.pos += 2
    cursor.skip_lines()
    while cursor.at("/-"):
        cursor.problem(cursor.pos, cursor.pos + 2, "a /- cannot comment out another one", "remove one of them")
        cursor.pos += 2
        cursor.skip_lines()
    if cursor.peek() in NODE_ENDS:
        cursor.problem(start, start + 2, "this /- has nothing to comment out", "remove it")
        return False
    return True


def read_entry(cursor: Cursor) -> Value | Property:
    """Read an argument or a property. Raises: StopReading when nothing behind it can be read."""
    value = _read_value(cursor)
    return _read_property(cursor, value) if skip_equals(cursor) else value


def _read_value(cursor: Cursor) -> Value:
    start = cursor.pos
    tag = read_annotation(cursor) if cursor.peek() == "(" else None
    if tag is not None and at_end(cursor):
        return Value("", Span(start, cursor.pos), tag)
    scalar = read_scalar(cursor)
    return Value(scalar, Span(start, cursor.pos), tag)


def _read_property(cursor: Cursor, key: Value) -> Property:
    span = key.span
    _check_key(cursor, key)
    equals_end = cursor.pos
    cursor.skip_space()
    while cursor.peek() == "=":
        cursor.problem(cursor.pos, cursor.pos + 1, "only one = belongs between a key and its value", "remove this one")
        cursor.pos += 1
        cursor.skip_space()
    if not at_end(cursor):
        return Property(str(key.value), span, _read_value(cursor))
    help_text = "a /- comments out a whole property" if cursor.at("/-") else "write it after the ="
    cursor.problem(span.start, equals_end, "property without a value", help_text)
    return Property(str(key.value), span, Value("", Span(equals_end, equals_end)))


def _check_key(cursor: Cursor, key: Value) -> None:
    span = key.span
    written = shortened(cursor.text[span.start : span.end])
    if key.tag is not None:
        message = "a type annotation is not allowed before a property key"
        cursor.problem(span.start, span.end, message, "move it before the value")
    elif not isinstance(key.value, str):
        help_text = f"put the key in quotes: {in_quotes(written)}"
        cursor.problem(span.start, span.end, f"{written} cannot be the key of a property", help_text)


def read_glued(cursor: Cursor, previous: int) -> bool:
    """Note that no white space stands before an entry; tells whether nothing is left of it to read.

    previous: where the name or value begins that ends at the cursor.
    """
    start, text = cursor.pos, cursor.text
    if text[start - 1] == "=":
        # A property in place of a node, noted there.
        return at_end(cursor)
    if _quote_is_missing(cursor, previous):
        read_unclosed(cursor, previous)
        return True
    if cursor.peek() == '"' and _quotes_ahead(cursor) % 2:
        cursor.pos = past(_TO_SPACE, text, start)
        help_text = "put the whole text between two quotes"
        cursor.problem(start, start + 1, "a quote is not allowed in or after a bare word", help_text)
        cursor.skip_space()
    elif cursor.peek() == ",":
        cursor.pos = past(_COMMAS, text, start)
        cursor.problem(start, cursor.pos, "values are separated by white space only", "remove the comma")
        cursor.skip_space()
    elif cursor.peek() not in _NOTED_ANYWAY:
        cursor.problem(start, start + 1, "missing white space before this", "put a space before it")
    return at_end(cursor)


def _quote_is_missing(cursor: Cursor, previous: int) -> bool:
    """Whether the string that was just read took the opening quote of the next one on its line for its end."""
    text, start = cursor.text, cursor.pos
    if text[start - 1] != '"' or text[previous] != '"' or text.startswith('"""', previous):
        return False
    return _quotes_ahead(cursor) % 2 == 1


def _quotes_ahead(cursor: Cursor) -> int:
    start = cursor.pos
    return cursor.text.count('"', start, past(REST_OF_LINE, cursor.text, start))


def read_annotation(cursor: Cursor) -> str:
    """Read a type annotation and the white space behind it; notes when nothing follows that it could belong to."""
    start = cursor.pos
    cursor.pos += 1
    cursor.skip_space()
    tag = _read_tag(cursor, start)
    cursor.skip_space()
    if cursor.peek() == ")":
        cursor.pos += 1
    else:
        cursor.problem(start, start + 1, "( is not closed", "put a ) after the type")
        cursor.pos = past(_TO_PARENTHESIS, cursor.text, cursor.pos)
    end = cursor.pos
    cursor.skip_space()
    if at_end(cursor):
        cursor.problem(start, end, "nothing follows this type annotation", "put it before a name or a value")
    return tag


def _read_tag(cursor: Cursor, start: int) -> str:
    if cursor.peek() == ")":
        cursor.problem(start, cursor.pos + 1, "type annotation is empty", "put a name between ( and )")
        return ""
    if cursor.at("/-"):
        cursor.problem(cursor.pos, cursor.pos + 2, "a /- is not allowed in a type annotation", "remove it")
        cursor.pos += 2
    if at_end(cursor):
        return ""
    name_start = cursor.pos
    tag = read_scalar(cursor)
    written = cursor.text[name_start : cursor.pos]
    if not isinstance(tag, str):
        help_text = f"put it in quotes: {in_quotes(written)}"
        cursor.problem(name_start, cursor.pos, f"{shortened(written)} cannot be a type", help_text)
    return written if not isinstance(tag, str) else tag
