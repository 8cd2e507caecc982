"""`depends-on`: that it names other VMs of the file, and that none waits for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vm_manager.diagnostics.spans import Span
from vm_manager.domain.names import closest
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.problems import Problems

# Comparing every unknown name with every VM would take minutes in a large file that is wrong throughout.
_MAX_SEARCHES = 20


def _known(vms: Sequence[Block], problems: Problems) -> None:
    names, searches = tuple(dict.fromkeys(vm.text for vm in vms if vm.text)), 0
    known = frozenset(names)
    for vm in vms:
        for name, span in _dependencies(vm):
            if name in known:
                continue
            near = closest(name, names) if searches < _MAX_SEARCHES else None
            searches += 1
            listed = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
            problems.add(
                span, f"`depends-on` refers to an unknown VM: '{name}'", "not defined here",
                f"did you mean `{near}`?" if near else f"the file defines: {listed}",
                instead=f'"{near}"' if near else None,
            )  # fmt: skip


def _not_itself(vms: Sequence[Block], problems: Problems) -> None:
    for vm in vms:
        for name, span in _dependencies(vm):
            if name == vm.text:
                problems.add(span, f"the VM '{name}' depends on itself", "the same VM", "remove it")


def _no_cycle(vms: Sequence[Block], problems: Problems) -> None:
    graph: dict[str, dict[str, Span]] = {}
    for vm in vms:
        if vm.text:
            graph.setdefault(vm.text, {}).update(
                (name, span) for name, span in _dependencies(vm) if name != vm.text
            )  # fmt: skip
    for cycle in _cycles(graph):
        steps = [(name, cycle[(number + 1) % len(cycle)]) for number, name in enumerate(cycle)]
        (first, *rest) = [(graph[name][after], f"'{name}' waits for '{after}'") for name, after in steps]
        problems.add(
            first[0], f"circular dependency: {' → '.join([*cycle, cycle[0]])}", first[1],
            "remove one of these dependencies", related=rest,
        )  # fmt: skip


def _cycles(graph: Mapping[str, Mapping[str, Span]]) -> Iterator[list[str]]:
    """Cycles that share no VM, until none is left. Walks without recursion: a chain may be as long as the file."""
    done: set[str] = set()
    for start in graph:
        path, place = [start], {start: 0}
        pending = [iter(graph[start])]
        while pending and start not in done:
            after = next(pending[-1], None)
            if after is None:
                pending.pop()
                gone = path.pop()
                del place[gone]
                done.add(gone)
            elif after in place:
                yield path[place[after] :]
                done.update(path)
                break
            elif after in graph and after not in done:
                place[after] = len(path)
                path.append(after)
                pending.append(iter(graph[after]))


def _dependencies(vm: Block) -> Iterator[tuple[str, Span]]:
    for block in vm.all("depends-on"):
        for value in block.values:
            if value and isinstance(value.value, str):
                yield value.value, value.span


DEPENDS_RULES = (_known, _not_itself, _no_cycle)
