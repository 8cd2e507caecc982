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

from vm_manager.cli.settings import RemoteCommand, VmctlCommand, VmctlGroup, current


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
        LazyCommand("up", "Create, start, wait for and provision the VMs of the VMFile.", "up:up"),
        LazyCommand(
            "down", "Stop the VMs of the VMFile; their disks are kept, unless they are to be destroyed.", "down:down"
        ),
        LazyCommand("reload", "Replace the VMs of the VMFile by new ones, and bring these up.", "up:reload"),
        LazyCommand("plan", "Show what `vmctl up` would do, and why; nothing is changed.", "plan:plan"),
        LazyCommand("provision", "Run the provisioners of running VMs again.", "provision:provision"),
        LazyCommand("validate", "Check the VMFile, and show every problem at once.", "validate:validate"),
        LazyCommand("create", "Make one VM from options, without a VMFile.", "create:create"),
        LazyCommand("start", "Start VMs, or let suspended ones go on.", "lifecycle:start"),
        LazyCommand("stop", "Shut VMs down; one that does not react in time is made to stop.", "lifecycle:stop"),
        LazyCommand("restart", "Stop VMs and start them again.", "lifecycle:restart"),
        LazyCommand("suspend", "Pause VMs: their virtual CPUs stand still, their memory stays.", "lifecycle:suspend"),
        LazyCommand("resume", "Let suspended VMs go on, also those that were saved to disk.", "lifecycle:resume"),
        LazyCommand("migrate", "Move a running VM to another data directory of this host.", "migrate:migrate"),
        LazyCommand("destroy", "Remove VMs, with their disks and keys, wherever they came from.", "lifecycle:destroy"),
        LazyCommand("list", "List all VMs. With --quiet: their names only.", "list:list_vms"),
        LazyCommand("status", "Show everything known of a VM, with its last failure.", "status:status"),
        LazyCommand(
            "ssh", "Open a shell in a VM, or run one command there and exit with its status.", "ssh:ssh", RemoteCommand
        ),
        LazyCommand("console", "Be at a VM's serial console; Ctrl+] leaves it.", "console:console"),
        LazyCommand(
            "log", "Show a VM's logs: those that are named, else the console's and the provisioners'.", "log:log"
        ),
        LazyCommand(
            "explain", "Explain a code: what it means, what is usually behind it, and what to do.", "explain:explain"
        ),
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
            current.terminal.say_raw(ctx.get_help())
            raise typer.Exit(2)
        return result


def image_commands() -> tuple[LazyCommand, ...]:
    """The commands behind `vmctl image`."""
    return (
        LazyCommand(
            "pull",
            "Fetch an image into the cache, unless it is there; compressed ones (.zst, .xz, .gz) are decompressed.",
            "image:pull",
        ),
        LazyCommand("list", "List the images of the cache, with the VMs whose disks stand on them.", "image:images"),
        LazyCommand("inspect", "Show what an image is, where it came from and which VMs use it.", "image:inspect"),
        LazyCommand(
            "convert", "Write an image, or the disk of a VM with the image below it, as a new file.", "image:convert"
        ),
        LazyCommand("rm", "Remove images from the cache, unless a VM's disk stands on one of them.", "image:remove"),
        LazyCommand(
            "prune",
            "Remove the images that no VM's disk stands on, and what broken off downloads have left.",
            "image:prune",
        ),
    )


def snapshot_commands() -> tuple[LazyCommand, ...]:
    """The commands behind `vmctl snapshot`."""
    return (
        LazyCommand(
            "create", "Keep the disks of a VM as they are, and while it runs its memory, too.", "snapshot:create"
        ),
        LazyCommand("list", "List the snapshots of a VM, oldest first.", "snapshot:list_snapshots"),
        LazyCommand("restore", "Go back to a snapshot: one with memory runs on from there.", "snapshot:restore"),
        LazyCommand("delete", "Remove a snapshot.", "snapshot:delete"),
    )


def groups() -> tuple[CommandGroup, ...]:
    """The words that have commands behind them."""
    return (
        CommandGroup("snapshot", "Keep states of a VM, and go back to them.", snapshot_commands()),
        CommandGroup("image", "Images: fetch them into the cache, look at them, remove them.", image_commands()),
    )
