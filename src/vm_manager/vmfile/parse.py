"""Text → nodes, whichever KDL it is. Nothing above knows which reader it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vm_manager.diagnostics.errors import VmFileParseFailed
from vm_manager.diagnostics.spans import Source
from vm_manager.vmfile import kdl2
from vm_manager.vmfile.nodes import Node, SyntaxProblem
from vm_manager.vmfile.problems import Problems

_VERSION = re.compile(r"\ufeff?/-[ \t]*kdl-version[ \t]+([12])[ \t]*(?:\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]|$)")


# Problems are told of the beginning only: of a hundred at the most.
_LOOKED_AT, _MANY = 4096, 8
_KDL = 'pass a VMFile with `--file PATH`: it begins like this: vm "web" { image "disk.qcow2" }'
_WORD = re.compile(r"\w{2,}")


def parse(source: Source, shown: Source | None = None) -> tuple[Node, ...]:
    """The nodes of a document.

    shown: the same source without what must not be quoted; None: all may be.
    A version marker decides, when there is one. Otherwise it is KDL 2 when it reads as such, else KDL 1 when kdl-py reads
    it, else what KDL 2 finds wrong with it counts.
    Raises: `vmfile::parse_failed`.
    """
    marker = _VERSION.match(source.text)
    version = marker[1] if marker else None
    if version == "1":
        from vm_manager.vmfile import kdl1

        nodes, found = kdl1.read(source.text)
    else:
        nodes, found = kdl2.read(source.text)
        if found and version is None:
            from vm_manager.vmfile import kdl1

            old_nodes, old_found = kdl1.read(source.text)
            if not old_found:
                nodes, found = old_nodes, ()
    if _is_no_kdl(found, source):
        raise VmFileParseFailed("{file} is not a VMFile: most of it is not KDL", {"file": source.name}, help=(_KDL,))
    problems, hidden = Problems(shown or source), _Hidden(source, shown or source)
    for problem in found:
        problems.add_syntax(_without_secrets(problem, hidden))
    problems.raise_if_any()
    return nodes


def _is_no_kdl(found: Sequence[SyntaxProblem], source: Source) -> bool:
    """Whether a text is something else altogether, of which it is no use to say what is wrong with each line."""
    lines = sum(1 for line in source.text[:_LOOKED_AT].splitlines() if line.strip())
    wrong = {source.position(problem.span.start)[0] for problem in found if problem.span.start < _LOOKED_AT}
    return len(wrong) >= _MANY and len(wrong) * 3 > lines


class _Hidden:
    """The words of each line that must not be quoted, looked for once: a line may have a megabyte, and a hundred problems."""

    def __init__(self, source: Source, shown: Source) -> None:
        self._source, self._shown = source, shown
        self._known: dict[int, frozenset[str]] = {}

    def at(self, offset: int) -> frozenset[str]:
        """Those of the line at an offset."""
        line = self._source.position(offset)[0]
        if line not in self._known:
            written, quotable = self._source.line(line), self._shown.line(line)
            same = written == quotable
            self._known[line] = frozenset() if same else frozenset(_words(written)) - frozenset(_words(quotable))
        return self._known[line]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _without_secrets(problem: SyntaxProblem, hidden: _Hidden) -> SyntaxProblem:
    """The same problem without the words of its line that must not be quoted: readers quote what they do not understand."""
    secret = hidden.at(problem.span.start)
    if not secret:
        return problem
    said = f"{problem.message} {problem.help or ''}"
    cut = tuple(secret) if "…" in said else ()
    if not any(word in secret or any(whole.startswith(word) for whole in cut) for word in _words(said)):
        return problem
    help = 'put the whole value in quotes: "…", and write \\\\ for a backslash in it'
    return replace(problem, message="this is not a value", help=help)
