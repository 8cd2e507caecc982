"""What the commands share: reading the VMFile, showing progress, saying what was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vm_manager.app.manager import Manager
from vm_manager.cli.settings import current
from vm_manager.diagnostics.errors import VmError

if TYPE_CHECKING:
    from vm_manager.diagnostics.model import Diagnostic
    from vm_manager.domain.events import Event, EventSink
    from vm_manager.domain.outcome import Outcome
    from vm_manager.domain.spec import Accelerator
    from vm_manager.vmfile.load import Project


def _complete_names(incomplete: str) -> list[str]:
    return [name for name in Manager().names() if name.startswith(incomplete)]


FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="PATH", help=r"Path to the VMFile \[default: VMFile.kdl here or in a parent directory]."
    ),
]
NameOption = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="NAME", help="Select a VM; can be repeated.", autocompletion=_complete_names),
]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help=r"Names of the VMs \[default: all].", autocompletion=_complete_names),
]
VmArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the VM.", autocompletion=_complete_names)]
VmsArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Names of the VMs.", autocompletion=_complete_names)
]
StopTimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, max=86400, help="How long the guest may take to shut down."),
]
NoProvisionOption = Annotated[bool, typer.Option("--no-provision", help="Skip the provisioners.")]


def accel_option(help: str) -> Any:
    """--accel, which checks its word."""
    words = ("auto", "kvm", "tcg")
    return typer.Option(
        "--accel", metavar="|".join(words), callback=lambda word: word and one_of(words)(word), help=help
    )


AccelOption = Annotated[str | None, accel_option(r"Override the VM's accelerator \[env: VMCTL_ACCEL].")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """A callback for an option that takes one of these words. Raises: `typer.BadParameter`."""

    def check(value: str) -> str:
        if value not in words:
            raise typer.BadParameter(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return value

    return check


def selected(names: Sequence[str] | None, options: Sequence[str] | None) -> list[str]:
    """The VMs that arguments and --name select, each once."""
    return list(dict.fromkeys([*(names or ()), *(options or ())]))


@contextmanager
def manager(max_image_bytes: int | None = None, *, accelerator: Accelerator | None = None) -> Iterator[Manager]:
    """A manager whose events are drawn while the block runs. accelerator: of the machines that would be started."""
    from vm_manager.ui.display import display_for

    with (
        display_for(current.terminal) as display,
        Manager(
            backend=current.backend_name, emit=display, accelerator=accelerator, max_image_bytes=max_image_bytes
        ) as vms,
    ):
        yield vms


class Work:
    """What a command does with VMs: a manager whose events are drawn, and what is to be told at its end."""

    def __init__(self, emit: EventSink) -> None:
        from vm_manager.ui.timings import Timings

        self.vms = Manager(backend=current.backend_name, emit=self._take)
        self.outcomes: tuple[Outcome, ...] = ()
        self.warnings: list[Diagnostic] = []
        self.timings = Timings()
        self._emit = emit

    def start_with(self, accel: str | None) -> None:
        """Take what concerns machines that are made or started from the options and the environment. Raises: `vmctl::usage`."""
        self.vms = Manager(
            backend=current.backend_name,
            emit=self._take,
            accelerator=current.accelerator(accel),
            max_image_bytes=current.max_image_bytes(),
        )

    def done(self, outcomes: tuple[Outcome, ...]) -> None:
        """Keep the outcomes for the end."""
        self.outcomes = outcomes

    def _take(self, event: Event) -> None:
        from vm_manager.domain.events import Warned

        if isinstance(event, Warned):
            self.warnings.append(event.diagnostic)
        self.timings(event)
        self._emit(event)


@contextmanager
def work(*, json: bool, starts: bool = False, accel: str | None = None) -> Iterator[Work]:
    """Run a command's work, then say what was done, a line per VM or one document; raises what stands for all that failed.

    starts: whether it may make or start machines; accel: with what, else the environment and the VMs say it.
    """
    from vm_manager.app.fleet import failure_of
    from vm_manager.ui.display import display_for
    from vm_manager.ui.documents import diagnostic_items, document, outcome_item
    from vm_manager.ui.outcomes import describe

    failure: VmError | None
    with display_for(current.terminal) as display:
        command = Work(display)
        try:
            if starts:
                command.start_with(accel)
            yield command
            failure = failure_of(command.outcomes)
        except VmError as error:
            failure = error
    if json:
        items = [outcome_item(outcome, command.timings.of(outcome.vm)) for outcome in command.outcomes]
        told = [*([failure.diagnostic] if failure else []), *command.warnings]
        current.terminal.say_raw(document(vms=items, diagnostics=diagnostic_items(told)))
    elif not current.quiet:
        for outcome in command.outcomes:
            # The failure of a single VM is told by its diagnostic.
            if outcome.error is None or len(command.outcomes) > 1:
                current.terminal.say(f"{outcome.vm}: {describe(outcome)}")
    if failure is not None:
        raise failure


def load_project(manager: Manager, file: Path | None, *, warn: bool = False) -> Project:
    """Read the VMFile, and say which one it is when it is not the one that is expected. warn: show its warnings."""
    project = manager.load(file)
    if project.in_parent_directory and not current.quiet:
        current.terminal.tell(f"using {project.path}")
    if warn and not current.quiet:
        for warning in project.warnings:
            current.terminal.show(warning)
    return project
