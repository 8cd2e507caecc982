"""What of a VMFile must never be quoted: the values of `env`, and whatever was probably meant as one.

It is looked for in the text, not in what was read of it: diagnostics quote lines of documents that cannot be read, too, and
lines with a misspelt `env`. Rather too much is hidden than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

from vm_manager.diagnostics.spans import Source, Span
from vm_manager.diagnostics.urls import secret_parts
from vm_manager.domain.names import closest
from vm_manager.domain.path_text import is_content
from vm_manager.vmfile.grammar import Entry
from vm_manager.vmfile.language import DOCUMENT, VM

# Strings end with their line here, whatever the reader makes of them: one without its closing quote hides nothing behind it.
_TOKEN = re.compile(
    r"""
    (?P<skipped>\\[^\S\n\r]*(?://[^\n\r]*)?(?:\r\n|[\n\r])|[^\S\n\r\x0b\x0c\x85\u2028\u2029]+|/-)
    | (?P<end>[\n\r\x0b\x0c\x85\u2028\u2029;])
    | (?P<opening>\{) | (?P<closing>\}) | (?P<equals>=)
    | (?P<comment>//[^\n\r]*|/\*)
    | (?P<long>(?P<hashes>\#*)\"{3} | r?(?P<marks>\#+)" | r")
    | (?P<string>"(?:[^"\\\n\r]++|\\[^\n\r])*+(?P<closed>")?)
    | (?P<annotation>\([^()\n\r]*\)?)
    | (?P<word>(?:[^\s"{};=(/]++|/(?![-/*]))++|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MOST_TOKENS = 400_000
_BEFORE_EQUALS = re.compile(r"[^\S\n\r]*=")
_LINE = re.compile(r"[^\n\r]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
# Wherever it stands, also in what is swallowed by a string that lacks a quote.
_ENV_ANYWHERE = re.compile(
    # Also where quotes are a word processor's.
    r"""(?:^|[\s;{}"/-])"?env"?[^\S\n\r]+["“”„«»‘’]?\w+["“”„«»‘’]?[^\S\n\r]+"""
    # A ; with something right behind it stands in a value that lacks its quotes.
    r"""(?P<hidden>(?:[“„«»‘][^\n\r]*|"(?:[^"\\\n\r]++|\\[^\n\r])*+"?|[^\n\r;}"]++|;(?=[^\s}]))++)"""
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:(?:\\?/){2}(?P<rest>[^\s\"]++)")
# In texts that are shown: a query, password=…; in comments what follows `env` as well.
_IN_TEXTS = re.compile(
    r"""(?i)(?<=[^\s"]\?)(?P<query>[^\s"=]{1,40}=[^\s"]*)"""
    r"""|(?:passw(?:or)?d|secret|token|api_?key)\w{0,40}["']?[ ]?[=:][ ]?(?P<value>[^\s"&;]+)"""
)
_IN_COMMENTS = re.compile(r"(?i)\b(?:env|environment|export)\b(?P<rest>.+)")
# Whole, whatever it is given for, and however its lines are parted.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL
)
# Where a path belongs, and some write what is in the file instead.
_PATHS = ("image", "ssh-key", "user-data", "network-config", "private-key", "script", "source")
_ASSIGNED = re.compile(r'(?<![\w"])"?[^\W\d]\w{0,80}=(?P<value>.+)', re.DOTALL)

# How people call what sets a variable, and what nobody else should read.
_ENV = ("env", "envs", "environment", "setenv", "export", "variable", "variables")
_SECRET = re.compile(r"(?i)pass|pwd|secret|token|credential|api.?key|access.?key|auth")
_VM = (VM.name, *VM.also, "vms")
_VM_MISSPELT = ("v", "m", "vn", "mv", "wm", "mvs")


def _names(entry: Entry) -> Iterator[str]:
    for child in entry.entries:
        yield child.name
        yield from _names(child)


_KNOWN = frozenset(_names(DOCUMENT)) - {"env"}


class _Rule(Enum):
    """What of the values of a node is shown, or of those of an unknown name in a block."""

    ALL = auto()
    FIRST = auto()  # the first argument, to see what was meant, and properties that the language knows
    NAME = auto()  # the first argument, up to a =
    NONE = auto()


@dataclass(slots=True)
class _Node:
    """A node that is being passed over.

    rule: what is shown of its values; block: what is shown of unknown names in its block, where NONE is meant of all names.
    """

    rule: _Rule
    block: _Rule
    arguments: int = 0
    key: str = ""
    at_value: bool = False


def quotable(source: Source) -> Source | None:
    """The same source without what must not be quoted, everything in its place; None when it is no VMFile at all.

    A document without anything in it, and one of comments, is hidden as a whole.
    """
    finder = _Finder(source.text)
    finder.run()
    if finder.has_vm:
        return source.without(finder.spans)
    return None if finder.has_nodes else source.without((Span(0, len(source.text)),))


@dataclass(slots=True)
class _Finder:
    text: str
    spans: list[Span] = field(default_factory=list)
    has_vm: bool = False
    has_nodes: bool = False
    _blocks: list[_Rule] = field(default_factory=lambda: [_Rule.FIRST])
    _node: _Node | None = None
    _absent: set[str] = field(default_factory=set)
    _continued: bool = False

    def run(self) -> None:
        """Pass over the whole text."""
        self.spans += (Span(*found.span("hidden")) for found in _ENV_ANYWHERE.finditer(self.text))
        self.spans += (Span(*found.span()) for found in _PRIVATE_KEY.finditer(self.text))
        for url in _URL.finditer(self.text):
            at = url.start("rest")
            self.spans += (Span(at + start, at + end) for start, end in secret_parts(url["rest"]))
        pos = tokens = 0
        while token := _TOKEN.match(self.text, pos):
            pos, tokens = self._take(token), tokens + 1
            if tokens > _MOST_TOKENS:
                # No reader takes as much, or quotes what stands behind.
                self.spans.append(Span(pos, len(self.text)))
                return

    def _take(self, token: re.Match[str]) -> int:
        """Look at a token; the offset behind what was looked at."""
        continued, self._continued = self._continued, False
        match token.lastgroup:
            case "skipped":
                self._continued = continued
            case "end":
                if not continued:
                    self._node = None
            case "opening":
                self._blocks.append(self._node.block if self._node else self._blocks[-1])
                self._node = None
            case "closing":
                del self._blocks[max(1, len(self._blocks) - 1) :]
                self._node = None
            case "equals" if self._node:
                self._node.at_value = True
            case "comment":
                self._continued = continued
                return self._comment(token)
            case "word" if token[0] == "\\":
                self._continued = True  # the line goes on in the next one, behind any comment
            case "annotation" if self._node is None:
                pass
            case "equals":
                pass
            case _:
                return self._string(token)
        return token.end()

    def _comment(self, token: re.Match[str]) -> int:
        start, end = token.span()
        if token[0] == "/*":
            end = self._comment_end(start)
        self._hide_in(_IN_COMMENTS, start, end)
        self._hide_in(_IN_TEXTS, start, end)
        return end

    def _comment_end(self, start: int) -> int:
        depth = 0
        for mark in _COMMENT_MARK.finditer(self.text, start):
            depth += 1 if mark[0] == "/*" else -1
            if not depth:
                return mark.end()
        self.spans.append(Span(start, len(self.text)))  # the reader stops here, too
        return len(self.text)

    def _string(self, token: re.Match[str]) -> int:
        """Look at a name, a key or a value."""
        start, end = token.start(), self._end(token)
        node = self._node
        if node is None:
            self._node = self._named(self.text[start:end].strip('#"'), start, end)
        elif _BEFORE_EQUALS.match(self.text, end) and not node.at_value:
            node.key = self.text[start:end].strip('"')
        elif node.key in _PATHS and is_content(self._value(start, end)):
            self.spans.append(Span(start, end if token["closed"] else self._closing_on_later_line(token, end)))
        elif self._shows(node, start, end):
            self._hide_in(_IN_TEXTS, start, end)
        else:
            self.spans.append(Span(start, end if token["closed"] else self._closing_on_later_line(token, end)))
        return end

    def _value(self, start: int, end: int) -> str:
        """What a string means, near enough to see whether it is a path."""
        return self.text[start:end].strip('#"').replace("\\n", "\n")

    def _end(self, token: re.Match[str]) -> int:
        """The end of a string of any kind, or of the line when it has none."""
        if token.lastgroup != "long":
            return token.end()
        closing = '"""' + token["hashes"] if token["hashes"] is not None else '"' + (token["marks"] or "")
        # Once it is not found it need not be looked for again and again.
        end = -1 if closing in self._absent else self.text.find(closing, token.end())
        if end >= 0:
            return end + len(closing)
        self._absent.add(closing)
        line = _LINE.match(self.text, token.end())
        return line.end() if line else token.end()

    def _closing_on_later_line(self, token: re.Match[str], end: int) -> int:
        """Where a string ends that has no closing quote in its line: in KDL 1 it may go on."""
        closing = self.text.find('"', end) if token.lastgroup == "string" else -1
        return end if closing < 0 else closing

    def _named(self, name: str, start: int, end: int) -> _Node:
        self.has_nodes = True
        self.has_vm = self.has_vm or _is_vm(name)
        self._hide_in(_ASSIGNED, start, end)
        outer = self._blocks[-1]
        node = _Node(_Rule.NONE, _Rule.NONE, key=name)
        if _is_env(name):
            node.rule = _Rule.NAME
        elif outer is _Rule.NONE or (name not in _KNOWN and _SECRET.search(name)):
            pass
        elif name in _KNOWN:
            inner = _Rule.NAME if name == "provision" else _Rule.FIRST
            node.rule, node.block = (_Rule.FIRST if name == "provision" else _Rule.ALL), inner
        elif outer is _Rule.FIRST:
            node.rule, node.block = _Rule.FIRST, _Rule.NAME
        else:
            node.block = _Rule.NAME
        return node

    def _shows(self, node: _Node, start: int, end: int) -> bool:
        """Whether a value may be quoted; notes that it has been seen."""
        if node.at_value:
            node.at_value = False
            known = node.key in _KNOWN or (node.rule is _Rule.ALL and not _SECRET.search(node.key))
            return known and node.rule in (_Rule.ALL, _Rule.FIRST)
        node.arguments += 1
        if node.rule in (_Rule.ALL, _Rule.NONE):
            return node.rule is _Rule.ALL
        if node.arguments == 1:
            self._hide_in(_ASSIGNED, start, end)
        return node.arguments == 1

    def _hide_in(self, pattern: re.Pattern[str], start: int, end: int) -> None:
        for found in pattern.finditer(self.text, start, end):
            if found.lastgroup:
                self.spans.append(Span(*found.span(found.lastgroup)))


def _is_vm(name: str) -> bool:
    lower = name[:20].lower()
    return lower in _VM or lower in _VM_MISSPELT or _near(lower, _VM)


def _is_env(name: str) -> bool:
    return name not in _KNOWN and (name[:20].lower() in _ENV or _near(name[:20].lower(), _ENV))


@lru_cache(maxsize=1024)
def _near(name: str, names: tuple[str, ...]) -> bool:
    return closest(name, names) is not None
