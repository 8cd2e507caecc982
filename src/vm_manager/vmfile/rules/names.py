"""Names that must be unique."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.paths import guest_path
from vm_manager.vmfile.problems import Problems


def _vms(vms: Sequence[Block], problems: Problems) -> None:
    for vm, first in _again(vms, 0):
        problems.add(
            vm, f"the VM '{_text(problems, vm)}' is defined twice", "again here", "rename one of them",
            related=((first, "first here"),),
        )  # fmt: skip


def _drives(vms: Sequence[Block], problems: Problems) -> None:
    for vm in vms:
        for drive, first in _again(vm.all("drive"), 0):
            problems.add(
                drive, f"the drive '{_text(problems, drive)}' is defined twice", "again here",
                "rename one of them", related=((first, "first here"),),
            )  # fmt: skip


def _mounts(vms: Sequence[Block], problems: Problems) -> None:
    for vm in vms:
        for target, first in _again(vm.all("mount"), 1, guest_path):
            problems.add(
                target, f"two directories are mounted on {_text(problems, target)}", "again here",
                "mount one of them elsewhere", related=((first, "first here"),),
            )  # fmt: skip


def _again(blocks: Iterable[Block], argument: int, shortest: Callable[[str], str] = str) -> Iterable[tuple[Span, Span]]:
    """Where an argument is what it was in an earlier block, and where that was. shortest: the form that is compared."""
    seen: dict[str, Span] = {}
    for block in blocks:
        value = block.values[argument] if len(block.values) > argument else None
        if value is not None:
            name = shortest(str(value.value))
            if name in seen:
                yield value.span, seen[name]
            seen.setdefault(name, value.span)


def _text(problems: Problems, span: Span) -> str:
    return problems.written(span).strip('"')


NAME_RULES = (_vms, _drives, _mounts)
