"""What the commands share: reading the VMFile, showing progress, saying what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.settings import current

if TYPE_CHECKING:
    from vm_manager.app.fleet import Outcome
    from vm_manager.vmfile.load import Project


def _complete_names(incomplete: str) -> list[str]:
    return [name for name in Manager().names() if name.startswith(incomplete)]


FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="PATH", help="The VMFile. Default: VMFile.kdl here, or in the nearest directory above."
    ),
]
NameOption = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="NAME", help="Only this VM; may be repeated.", autocompletion=_complete_names),
]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Only these VMs. Default: all.", autocompletion=_complete_names),
]
VmArgument = Annotated[str, typer.Argument(metavar="NAME", help="The VM.", autocompletion=_complete_names)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """A callback for an option that takes one of these words. Raises: `typer.BadParameter`."""

    def check(value: str) -> str:
        if value not in words:
            raise typer.BadParameter(f"it is {', '.join(words[:-1])} or {words[-1]}")
        return value

    return check


def selected(names: Sequence[str] | None, options: Sequence[str] | None) -> list[str]:
    """The VMs that arguments and --name select, each once."""
    return list(dict.fromkeys([*(names or ()), *(options or ())]))


@contextmanager
def manager() -> Iterator[Manager]:
    """A manager whose events are drawn while the block runs."""
    from vm_manager.ui.display import display_for

    with display_for(current.terminal) as display:
        yield Manager(backend=current.backend_name, emit=display)


def load_project(manager: Manager, file: Path | None, *, warn: bool = False) -> Project:
    """Read the VMFile, and say which one it is when it is not the one that is expected. warn: show its warnings."""
    project = manager.load(file)
    if project.found_above and not current.quiet:
        current.terminal.tell(f"using {project.path}")
    if warn and not current.quiet:
        for warning in project.warnings:
            current.terminal.show(warning)
    return project


def finish(outcomes: Sequence[Outcome]) -> None:
    """Say what was done, a line per VM; raises the failure that stands for all that failed."""
    from vm_manager.app.fleet import failure_of

    for outcome in outcomes:
        if outcome.error is None and not current.quiet:
            current.terminal.say(f"{outcome.vm}: {outcome.summary}")
    failure = failure_of(outcomes)
    if failure is not None:
        raise failure
