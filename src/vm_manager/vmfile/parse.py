"""Text → nodes, whichever KDL it is. Nothing above knows which reader it was."""

from __future__ import annotations

import re

from vm_manager.diagnostics.spans import Source
from vm_manager.vmfile import kdl2
from vm_manager.vmfile.nodes import Node
from vm_manager.vmfile.problems import Problems

_VERSION = re.compile(r"\ufeff?/-[ \t]*kdl-version[ \t]+([12])[ \t]*(?:\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]|$)")


def parse(source: Source) -> tuple[Node, ...]:
    """The nodes of a document.

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
    problems = Problems(source)
    for problem in found:
        problems.add_syntax(problem)
    problems.raise_if_any()
    return nodes
