"""Every command of vmctl: its name, its line in the help, and where it is.

A command's module is imported when the command is run, completed or asked for its help, so that no command's start pays
for the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from vm_manager.cli.settings import RemoteCommand, VmctlCommand


class LazyCommand(TyperCommand):
    """Stands for a command until its module is needed.

    summary: the first line of the docstring of the command's function.
    function: `module:function`, the module in this folder.
    cls: what Typer makes of the function.
    """

    def __init__(
        self, name: str, summary: str, function: str, cls: type[TyperCommand] = VmctlCommand, **attributes: Any
    ) -> None:
        super().__init__(name, help=summary, **attributes)
        self._function = function
        self._cls = cls

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself: from here on nobody sees this one."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """The command, made by Typer from its function."""
        module, _, function = self._function.partition(":")
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(self.name, cls=self._cls)(getattr(import_module(f"vm_manager.cli.{module}"), function))
        return get_command(app)


class LazyGroup(LazyCommand):
    """The same for a command with commands of its own; function: `module:app`."""

    def load(self) -> Any:
        """The group, made by Typer from its app."""
        module, _, app = self._function.partition(":")
        return get_command(getattr(import_module(f"vm_manager.cli.{module}"), app))


def commands() -> tuple[LazyCommand, ...]:
    """All commands, in the order in which the help shows them."""
    return (
        LazyCommand("up", "Create, start, wait for and provision the VMs of the VMFile.", "up:up"),
        LazyCommand(
            "down", "Stop the VMs of the VMFile; their disks are kept, unless they are to be destroyed.", "down:down"
        ),
        LazyCommand("reload", "Replace the VMs of the VMFile by new ones, and bring these up.", "up:reload"),
        LazyCommand("provision", "Run the provisioners of running VMs again.", "provision:provision"),
        LazyCommand("validate", "Check the VMFile, and show every problem at once.", "validate:validate"),
        LazyCommand("create", "Make one VM from options, without a VMFile.", "create:create"),
        LazyCommand("start", "Start VMs, or let suspended ones go on.", "lifecycle:start"),
        LazyCommand("stop", "Shut VMs down; one that does not react in time is made to stop.", "lifecycle:stop"),
        LazyCommand("restart", "Stop VMs and start them again.", "lifecycle:restart"),
        LazyCommand("suspend", "Pause VMs: their virtual CPUs stand still, their memory stays.", "lifecycle:suspend"),
        LazyCommand("resume", "Let suspended VMs go on, also those that were saved to disk.", "lifecycle:resume"),
        LazyCommand("destroy", "Remove VMs, with their disks and keys, wherever they came from.", "lifecycle:destroy"),
        LazyGroup("snapshot", "Keep states of a VM, and go back to them.", "snapshot:app"),
        LazyCommand("list", "List all VMs. With --quiet: their names only.", "list:list_vms"),
        LazyCommand("status", "Show everything known of a VM, with its last failure.", "status:status"),
        LazyCommand(
            "ssh", "Open a shell in a VM, or run one command there and exit with its status.", "ssh:ssh", RemoteCommand
        ),
        LazyCommand(
            "explain", "Explain a code: what it means, what is usually behind it, and what to do.", "explain:explain"
        ),
    )
