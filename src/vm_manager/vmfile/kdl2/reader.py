"""Reads KDL 2: text to nodes with spans, and every syntax error of the text in one go.

Source: the KDL 2.0.0 specification (https://kdl.dev/spec). Open blocks are kept on a stack of our own, so that no
nesting exhausts Python's.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2.braces import imbalance
from vm_manager.vmfile.kdl2.entries import (
    NODE_ENDS,
    at_end,
    find_target,
    read_annotation,
    read_entry,
    read_glued,
    skip_equals,
)
from vm_manager.vmfile.kdl2.text import NEWLINE, SPACE, Cursor, StopReading, in_quotes, shortened
from vm_manager.vmfile.kdl2.values import read_scalar
from vm_manager.vmfile.nodes import Node, Property, SyntaxProblem, Value

# What reads the nodes may well recurse; Python allows about 1000 calls in each other.
MAX_DEPTH = 256
# A thousand VMs have some 30,000 nodes and values.
MAX_ITEMS = 100_000

_SPACES_AND_WORD = re.compile(rf"[{SPACE}]*([^{SPACE}{NEWLINE};{{}}]*)")


def read(text: str) -> tuple[tuple[Node, ...], tuple[SyntaxProblem, ...]]:
    """Read a KDL 2 document.

    text: any string; a byte order mark may come first.

    Returns the nodes and the problems, both in document order. Without problems the text is KDL 2 and the nodes are
    what it says; otherwise they are what could be made out. Nodes, arguments and properties commented out with `/-` are
    left out, a version marker (`/- kdl-version 2`) among them. A number of more than 1000 characters, an exponent
    beyond 9999 and blocks more than 256 deep are problems. Reading stops after 100 problems.
    """
    return _Reader(text).read()


class _Stage(Enum):
    """What may still come in a node."""

    ENTRIES = auto()
    BLOCKS = auto()  # after a block commented out, only blocks
    END = auto()  # after its block, only blocks commented out


@dataclass(slots=True)
class _Draft:
    """A node that is being read."""

    name: str
    name_span: Span
    start: int
    end: int
    tag: str | None
    kept: bool
    stage: _Stage = _Stage.ENTRIES
    arguments: list[Value] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)
    children: tuple[Node, ...] = ()
    has_block: bool = False

    def add(self, entry: Value | Property) -> None:
        """Take an argument or a property, the last so far."""
        if isinstance(entry, Property):
            self.properties.append(entry)
            self.end = entry.value.span.end
        else:
            self.arguments.append(entry)
            self.end = entry.span.end

    def node(self) -> Node:
        """The node as far as it has been read."""
        return Node(
            name=self.name,
            name_span=self.name_span,
            span=Span(self.start, self.end),
            arguments=tuple(self.arguments),
            properties=tuple(self.properties),
            children=self.children,
            tag=self.tag,
            has_block=self.has_block,
        )


@dataclass(slots=True)
class _Block:
    """A block that is open; without an owner when no node stands before it."""

    owner: _Draft | None
    kept: bool
    nodes: list[Node] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._cursor = Cursor(text)
        self._document = _Block(None, kept=True)
        self._blocks = [self._document]
        self._braces: list[int] = []
        self._previous = 0
        self._items = 0

    def read(self) -> tuple[tuple[Node, ...], tuple[SyntaxProblem, ...]]:
        complete = False
        with suppress(StopReading):
            self._cursor.note_disallowed()
            self._read_document()
            complete = True
        with suppress(StopReading):
            self._report_braces(complete=complete)
        while len(self._blocks) > 1:
            self._leave_block()
        problems = sorted(self._cursor.problems, key=lambda problem: problem.span.start)
        return tuple(self._document.nodes), tuple(problems)

    def _read_document(self) -> None:
        cursor = self._cursor
        while True:
            cursor.skip_lines()
            first = cursor.peek()
            if not first:
                return
            if first == "}":
                self._close_block()
            elif first == "{":
                self._open_nameless_block()
            elif first == ";":
                cursor.problem(cursor.pos, cursor.pos + 1, "no node before this ;", "remove it")
                cursor.pos += 1
            else:
                self._read_node()

    def _report_braces(self, *, complete: bool) -> None:
        found = imbalance(self._text, self._braces, by_indentation=complete)
        if not complete:
            # Their ends may stand in what was not read.
            found.unclosed.clear()
        for problem in found.problems():
            self._cursor.report(problem)

    # Nodes

    def _count(self) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            place = Span(self._cursor.pos, self._cursor.pos)
            message = f"more than {MAX_ITEMS} nodes and values: the rest was not read"
            self._cursor.report(SyntaxProblem(message, place, "split it into several files"))
            raise StopReading

    def _read_node(self) -> None:
        self._count()
        cursor = self._cursor
        kept = not cursor.at("/-")
        if not kept and not find_target(cursor):
            return
        start = cursor.pos
        tag = read_annotation(cursor) if cursor.peek() == "(" else None
        if (tag is not None or not kept) and at_end(cursor):
            # Noted with the annotation; a { after /- is noted as a block without a node.
            if tag is not None and cursor.peek() == "{":
                self._open_block(None, kept=False)
            return
        span, name = self._read_name()
        self._read_rest(_Draft(name, span, start, span.end, tag, kept))

    def _read_name(self) -> tuple[Span, str]:
        cursor = self._cursor
        start = self._previous = cursor.pos
        name = read_scalar(cursor)
        span = Span(start, cursor.pos)
        written = self._text[start : cursor.pos]
        if not isinstance(name, str):
            help_text = f"write a name first, or put this one in quotes: {in_quotes(written)}"
            cursor.problem(start, span.end, f"{shortened(written)} cannot be the name of a node", help_text)
            name = written
        if skip_equals(cursor):
            self._note_property_as_node(span)
        return span, name

    def _note_property_as_node(self, key: Span) -> None:
        cursor = self._cursor
        value = _SPACES_AND_WORD.match(self._text, cursor.pos)
        written = self._text[key.start : key.end], value[1] if value else ""
        help_text = f"write it as a node, without the =: {shortened(' '.join(written).rstrip())}"
        cursor.problem(key.start, cursor.pos, "a property needs a node", help_text)

    def _read_rest(self, draft: _Draft) -> None:
        """Read what follows a name or a block, up to the end of the node or into its next block."""
        cursor, text = self._cursor, self._text
        while True:
            spaced = cursor.skip_space()
            first = text[cursor.pos : cursor.pos + 1]
            if first in NODE_ENDS or (first == "/" and cursor.at("//")):
                return self._finish(draft)
            if first == "{":
                return self._read_block(draft)
            if first == "/" and cursor.at("/-"):
                if self._read_discarded(draft):
                    return None
            elif draft.stage is _Stage.END:
                message = "a node ends with its block: a line break or ; is missing before this"
                cursor.problem(cursor.pos, cursor.pos + 1, message, "put it on the next line")
                return self._finish(draft)
            else:
                self._read_entry(draft, spaced=spaced)

    def _finish(self, draft: _Draft) -> None:
        if self._cursor.peek() == ";":
            self._cursor.pos += 1
        if draft.kept:
            self._blocks[-1].nodes.append(draft.node())

    # Blocks

    def _open_block(self, owner: _Draft | None, *, kept: bool) -> None:
        cursor = self._cursor
        if len(self._blocks) > MAX_DEPTH:
            cursor.problem(cursor.pos, cursor.pos + 1, f"blocks are nested more than {MAX_DEPTH} deep")
            raise StopReading
        self._braces.append(cursor.pos)
        self._blocks.append(_Block(owner, kept))
        cursor.pos += 1

    def _read_block(self, draft: _Draft) -> None:
        cursor = self._cursor
        kept = draft.stage is not _Stage.END
        if not kept:
            cursor.problem(
                cursor.pos, cursor.pos + 1, "a node can have only one block", "put its nodes into the first one"
            )
        self._open_block(draft, kept=kept)

    def _open_nameless_block(self) -> None:
        start = self._cursor.pos
        # One problem for a row of them.
        if self._text[start - 1 : start] != "{" or start - 1 not in self._braces[-1:]:
            help_text = "move it to the end of the line of its node, or write a name before it"
            self._cursor.problem(start, start + 1, "no node before this {", help_text)
        self._open_block(None, kept=False)

    def _close_block(self) -> None:
        cursor = self._cursor
        self._braces.append(cursor.pos)
        cursor.pos += 1
        if len(self._blocks) > 1 and (owner := self._end_block()):
            self._read_rest(owner)
        elif cursor.at(";"):
            # It goes with a brace that is a problem already.
            cursor.pos += 1

    def _end_block(self) -> _Draft | None:
        block = self._blocks.pop()
        owner = block.owner
        if owner and block.kept:
            owner.children, owner.has_block = tuple(block.nodes), True
            owner.end, owner.stage = self._cursor.pos, _Stage.END
        elif owner and owner.stage is _Stage.ENTRIES:
            owner.stage = _Stage.BLOCKS
        return owner

    def _leave_block(self) -> None:
        owner = self._end_block()
        if owner and owner.kept:
            self._blocks[-1].nodes.append(owner.node())

    # Entries

    def _read_entry(self, draft: _Draft, *, spaced: bool = True, kept: bool = True) -> None:
        self._count()
        cursor = self._cursor
        if not spaced and read_glued(cursor, self._previous):
            return
        if draft.stage is not _Stage.ENTRIES:
            message = "arguments and properties come before the block"
            cursor.problem(cursor.pos, cursor.pos + 1, message, "put it before the {")
        entry = read_entry(cursor)
        self._previous = (entry.value if isinstance(entry, Property) else entry).span.start
        if kept:
            draft.add(entry)

    def _read_discarded(self, draft: _Draft) -> bool:
        """Read what a /- within a node comments out; tells whether that led into a block."""
        if not find_target(self._cursor):
            return False
        if self._cursor.peek() == "{":
            self._open_block(draft, kept=False)
            return True
        self._read_entry(draft, kept=False)
        return False
