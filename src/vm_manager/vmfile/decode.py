"""Nodes → blocks, by the description of the language. Every problem is noted, and none hides another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.names import closest
from vm_manager.vmfile.blocks import Block, Later, Located
from vm_manager.vmfile.grammar import Argument, Choice, Entry, Number, Size, Word, Written
from vm_manager.vmfile.language import DOCUMENT, VM
from vm_manager.vmfile.nodes import Node, Property, Value
from vm_manager.vmfile.peers import ADVICE
from vm_manager.vmfile.places import place_of, placeholder
from vm_manager.vmfile.problems import Problems
from vm_manager.vmfile.values import ValueReader, did_you_mean, with_article

_NUMERALS = ("no value", "one value", "two values")


def decode(nodes: Sequence[Node], problems: Problems) -> tuple[Block, ...]:
    """The vm blocks of a document; what is wrong goes to `problems`."""
    top = Block(DOCUMENT, Span(0, 0))
    _Decoder(problems).contents(top, nodes, ())
    if "vm" not in top.written:
        problems.add(
            Span(0, 0), "the file defines no VM", "nothing here", 'add a block: vm "web" { image "disk.qcow2" }'
        )
    return tuple(top.blocks)


class _Decoder:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._values = ValueReader(problems)

    # Contents

    def contents(self, block: Block, nodes: Sequence[Node], properties: Sequence[Property]) -> None:
        """Decode what stands in a block, and as its properties, and check that nothing is missing or too many."""
        self._properties(block, properties)
        for node in nodes:
            entry = self._known(block, node.name, node.name_span, node=node)
            if entry and entry.written is Written.PROPERTY:
                block.written.add(entry.name)
                self._problems.add(
                    node.name_span, f"`{entry.name}` is a property of `{block.name}`", "in the block",
                    f"write it after the name: {block.name} … {entry.name}={placeholder(entry.arguments[0])}",
                )  # fmt: skip
            elif entry and self._may_stand(block, entry, node.name_span):
                block.blocks.append(self._node(block, entry, node))
        for entry in block.entry.entries:
            self._missing(block, entry)
        for choice in block.entry.choices:
            self._choose(block, choice)

    def _properties(self, block: Block, properties: Sequence[Property]) -> None:
        for entry in properties:
            known = block.entry.find(entry.key)
            if known and known.written is Written.CHILD:
                block.written.add(known.name)
                self._problems.add(
                    entry.span, f"`{known.name}` is not a property of `{block.name}`", "after the name",
                    f"move it into the block, on its own line: {known.name} …",
                )  # fmt: skip
            elif known is None and all(child.written is Written.CHILD for child in block.entry.entries):
                self._problems.add(
                    entry.span, f"`{block.name}` has no property `{entry.key}`", "not expected", "remove it"
                )
            else:
                known = self._known(block, entry.key, entry.key_span, f"property `{entry.key}` of `{block.name}`")
                if known and self._may_stand(block, known, entry.key_span):
                    found = Block(known, entry.key_span)
                    found.values = [self._values.read(known.name, entry.value, known.arguments[0].type)]
                    self._note_later(block, found)
                    block.blocks.append(found)

    def _known(self, block: Block, name: str, span: Span, what: str = "", node: Node | None = None) -> Entry | None:
        """The entry of that name; an unknown one is a problem, and counts as the one that was probably meant."""
        entry = block.entry.find(name)
        if entry is not None:
            return entry
        if self._problems.is_full:
            self._problems.add(span, "unknown", "", "")  # is counted
            return None
        variant = block.text or None
        fitting = [entry for entry in block.entry.entries if entry.fits(variant)]
        called = next((entry.name for entry in fitting if entry.is_called(name)), None)
        idiom = partial(self._idiom, node) if node else None
        advice = ADVICE.get(name.lower().replace("_", "-")) if block.entry is VM else None
        place = advice or (None if called else place_of(name, block.entry, idiom))
        near = called or (None if place else closest(name, tuple(entry.name for entry in fitting)))
        if near:
            block.written.add(near)
        where = f"in {with_article(block.name)} block" if block.name else "at the top of a VMFile"
        written = Written.CHILD if what else Written.PROPERTY
        known = tuple(entry.name for entry in fitting if entry.written is not written)
        if not what:
            written_so = self._problems.written(span)
            # It may be a value that lost its quotes: then it is hidden there.
            shown = name if name in written_so else written_so.strip('"')
        message = f"unknown {what or f'`{shown}` {where}'}"
        meant = block.entry.find(near) if near else None
        if idiom and meant and (line := idiom(meant)):
            self._problems.add(span, message, "not known here", f"write it like this: {line}")
        else:
            self._problems.add(
                span, message, "not known here", place or did_you_mean(near, known), instead=None if advice else near
            )
        return None

    def _idiom(self, node: Node, entry: Entry) -> str | None:
        """How a node is written here that is written as other tools have such an entry; None when it is not."""
        return entry.idiom.read(node, self._problems.written(node.span)) if entry.idiom else None

    def _may_stand(self, block: Block, entry: Entry, span: Span) -> bool:
        """Whether it belongs to a block of this kind, and is not there already."""
        if not entry.fits(block.text or None):
            others = " or ".join(f'{block.name} "{word}"' for word in entry.only)
            self._problems.add(
                span, f'`{entry.name}` is not allowed with {block.name} "{block.text}"', "not expected here",
                f"remove it; it is only allowed with {others}", related=((block.values[0].span, "with this one"),)
                if block.values and block.values[0] else (),
            )  # fmt: skip
            return False
        first = block.first(entry.name)
        if first is None or entry.many:
            block.written.add(entry.name)
            return True
        self._problems.add(
            span, f"`{entry.name}` is given twice", "again here", "remove one of the two",
            related=((first.name_span, "first here"),),
        )  # fmt: skip
        return False

    def _missing(self, block: Block, entry: Entry) -> None:
        if not (entry.required and block.name) or entry.name in block.written or (entry.only and not block.text):
            return
        if entry.fits(block.text or None):
            value = placeholder(entry.arguments[0])
            behind = f"write it after the name: {block.name} … {entry.name}={value}"
            line = f"add a line: {entry.name} {value}"
            kind = f' "{block.text}"' if entry.only else ""
            self._problems.add(
                block.span, f"`{block.name}{kind}` without `{entry.name}`", f"no {entry.name}",
                line if entry.written is Written.CHILD else behind,
            )  # fmt: skip

    def _choose(self, block: Block, choice: Choice) -> None:
        if choice.only and block.text not in choice.only:
            return
        given = [found for found in block.blocks if found.name in choice.names]
        if len(given) > 1:
            complaint, (first, *_, last) = choice.several, sorted(given, key=lambda found: found.name_span.start)
            self._problems.add(
                last.name_span, complaint.message, complaint.label, complaint.help,
                related=((first.name_span, "the other one"),),
            )  # fmt: skip
        elif not block.written.intersection(choice.names):
            complaint = choice.none
            self._problems.add(block.span, complaint.message, complaint.label, complaint.help)

    # Nodes

    def _node(self, parent: Block, entry: Entry, node: Node) -> Block:
        block = Block(entry, node.name_span)
        if entry.idiom and (line := self._idiom(node, entry)):
            complaint = entry.idiom.complaint
            span = Span(node.name_span.start, node.arguments[-1].span.end) if node.arguments else node.name_span
            self._problems.add(span, complaint.message, complaint.label, complaint.help.format(value=line))
            return block
        if node.tag is not None:
            self._problems.add(
                Span(node.span.start, node.name_span.end), f"`{entry.name}` with a type annotation",
                f"({node.tag}) has no meaning here", f"remove ({node.tag})",
            )  # fmt: skip
        self._arguments(block, node)
        if node.has_block and not entry.takes_block and not any(entry.find(child.name) for child in node.children):
            self._problems.add(node.name_span, f"`{entry.name}` takes no block", "has a block", "remove the braces")
            self._properties(block, node.properties)
        elif entry.body and not node.has_block:
            self._properties(block, node.properties)
            self._problems.add(
                block.span, f"a {entry.name} without a block", "no braces after it",
                f'add one: {entry.name} "…" {{ image "disk.qcow2" }}',
            )  # fmt: skip
        else:
            self.contents(block, node.children, node.properties)
        self._note_later(parent, block)
        return block

    def _arguments(self, block: Block, node: Node) -> None:
        wanted = block.entry.arguments
        endless = bool(wanted) and wanted[-1].many
        for number, argument in enumerate(wanted):
            if number < len(node.arguments):
                continue
            if argument.default is None:
                self._no_argument(block, argument)
            else:
                block.values.append(Located(argument.default, block.name_span))
        for number, value in enumerate(node.arguments):
            if number < len(wanted) or endless:
                argument = wanted[min(number, len(wanted) - 1)]
                name = block.name if len(wanted) == 1 else f"{block.name} {argument.name}"
                block.values.append(self._values.read(name, value, argument.type))
            else:
                self._one_too_many(block, value)

    def _no_argument(self, block: Block, argument: Argument) -> None:
        several = len(block.entry.arguments) > 1
        what = argument.name if several else "value"
        shown = " ".join(map(placeholder, block.entry.arguments))
        self._problems.add(
            block.name_span, f"`{block.name}` without {with_article(what)}", f"{_kind(argument)} is missing after it",
            f"write it after the name: {block.name} {shown}",
        )  # fmt: skip

    def _one_too_many(self, block: Block, value: Value) -> None:
        wanted = _NUMERALS[len(block.entry.arguments)]
        needed = " ".join(f"{entry.name}=…" for entry in block.entry.entries if entry.required)
        instead = f"write {block.name} {'{ … }' if block.entry.takes_block else needed}"
        help = "remove it" if block.entry.arguments else instead
        self._problems.add(value.span, f"`{block.name}` takes {wanted}", "one too many", help)

    # What is still to come

    def _note_later(self, parent: Block, block: Block) -> None:
        """Hand what cannot be run yet on to the block around it: the outermost reason only."""
        found = block.later
        for argument, value in zip(block.entry.arguments, block.values, strict=False):
            if value and isinstance(argument.type, Word) and value.value in argument.type.later:
                found = [Later(value.span, f'`{block.name} "{value.value}"`')]
        parent.later += found


def _kind(argument: Argument) -> str:
    match argument.type:
        case Number():
            return "a whole number"
        case Size():
            return "a size"
        case _:
            return "a string"
