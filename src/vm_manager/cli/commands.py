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

from vm_manager.cli.settings import RemoteCommand, VmctlCommand, VmctlGroup, say_help


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


def commands() -> tuple[LazyCommand, ...]:
    """All commands, in the order in which the help shows them."""
    return (
        LazyCommand("up", "Create, start and provision the VMs in the VMFile.", "up:up"),
        LazyCommand("down", "Stop the VMs in the VMFile and keep their disks.", "down:down"),
        LazyCommand("reload", "Replace the VMs in the VMFile with new ones and start them.", "up:reload"),
        LazyCommand("plan", "Show what `vmctl up` would do, without doing it.", "plan:plan"),
        LazyCommand("provision", "Run the provisioners of running VMs again.", "provision:provision"),
        LazyCommand("validate", "Check the VMFile and report all problems at once.", "validate:validate"),
        LazyCommand("create", "Create a VM from options, without a VMFile.", "create:create"),
        LazyCommand("start", "Start VMs, or resume suspended ones.", "lifecycle:start"),
        LazyCommand("stop", "Shut VMs down, by force after a timeout.", "lifecycle:stop"),
        LazyCommand("restart", "Stop VMs and start them again.", "lifecycle:restart"),
        LazyCommand("suspend", "Pause VMs, in memory or to disk.", "lifecycle:suspend"),
        LazyCommand("resume", "Resume suspended VMs, from memory or from disk.", "lifecycle:resume"),
        LazyCommand("migrate", "Move a running VM to another data directory on this host.", "migrate:migrate"),
        LazyCommand("destroy", "Remove VMs, their disks and keys.", "lifecycle:destroy"),
        LazyCommand("list", "List all VMs. With --quiet, names only.", "list:list_vms"),
        LazyCommand("status", "Show the details of a VM and its last failure.", "status:status"),
        LazyCommand("port", "Show the host ports that lead into a running VM.", "port:port"),
        LazyCommand("forward", "Forward ports of this host into a running VM.", "forward:forward"),
        LazyCommand("ssh", "Open a shell in a VM, or run a command in it.", "ssh:ssh", RemoteCommand),
        LazyCommand("console", "Open the serial console of a VM.", "console:console"),
        LazyCommand("screenshot", "Save a picture of a VM's screen.", "screen:screenshot"),
        LazyCommand("vnc", "Show how to view and control a VM's screen.", "screen:vnc"),
        LazyCommand("log", "Show the logs of a VM.", "log:log"),
        LazyCommand("explain", "Explain an error code: what it means, likely causes, what to do.", "explain:explain"),
    )


class CommandGroup(VmctlGroup):
    """Commands behind a word of their own; the word alone shows them."""

    def __init__(self, name: str, summary: str, members: tuple[LazyCommand, ...]) -> None:
        super().__init__(
            name=name,
            help=summary,
            commands={str(member.name): member for member in members},
            invoke_without_command=True,
            no_args_is_help=False,
            rich_markup_mode="rich",
        )

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            say_help(ctx)
            raise typer.Exit(2)
        return result


def image_commands() -> tuple[LazyCommand, ...]:
    """The commands behind `vmctl image`."""
    return (
        LazyCommand("pull", "Download an image into the cache.", "image:pull"),
        LazyCommand("list", "List cached images and the VMs that use them.", "image:images"),
        LazyCommand("inspect", "Show the details of an image.", "image:inspect"),
        LazyCommand("convert", "Convert an image, or a VM's disk, to a new file.", "image:convert"),
        LazyCommand("rm", "Remove images from the cache, unless a VM uses one of them.", "image:remove"),
        LazyCommand("prune", "Remove unused images and leftovers of failed downloads.", "image:prune"),
    )


def snapshot_commands() -> tuple[LazyCommand, ...]:
    """The commands behind `vmctl snapshot`."""
    return (
        LazyCommand("create", "Take a snapshot of a VM.", "snapshot:create"),
        LazyCommand("list", "List the snapshots of a VM, oldest first.", "snapshot:list_snapshots"),
        LazyCommand("restore", "Restore a VM to a snapshot.", "snapshot:restore"),
        LazyCommand("delete", "Delete a snapshot.", "snapshot:delete"),
    )


def groups() -> tuple[CommandGroup, ...]:
    """The words that have commands behind them."""
    return (
        CommandGroup("snapshot", "Manage snapshots of a VM.", snapshot_commands()),
        CommandGroup("image", "Manage the image cache.", image_commands()),
    )
