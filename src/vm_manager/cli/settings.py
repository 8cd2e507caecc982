"""The options that every command takes, before or after its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from vm_manager.diagnostics.errors import Usage
from vm_manager.ui.formats import ErrorFormat
from vm_manager.ui.logs import show_logs
from vm_manager.ui.terminal import Terminal, writing_output

if TYPE_CHECKING:
    from vm_manager.domain.spec import Accelerator

_COLORS = ("auto", "always", "never")
_PANEL = "Global options"


@dataclass
class Settings:
    """What the global options say."""

    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    backend: str = ""
    error_format: str = ""

    @property
    def terminal(self) -> Terminal:
        """The streams as the user wants them."""
        return Terminal(self.color, self.quiet, self.error_format, self.verbose > 0)

    @property
    def backend_name(self) -> str:
        """The backend for new VMs: --backend, VMCTL_BACKEND, qemu."""
        return self.backend or os.environ.get("VMCTL_BACKEND") or "qemu"

    def accelerator(self, option: str | None = None) -> Accelerator | None:
        """What executes the machines that are started: --accel, VMCTL_ACCEL, else what each VM says. Raises: `vmctl::usage`."""
        from vm_manager.domain.spec import Accelerator

        word = option or os.environ.get("VMCTL_ACCEL")
        if not word:
            return None
        try:
            return Accelerator(word)
        except ValueError:
            raise Usage(
                "invalid VMCTL_ACCEL: '{word}'",
                {"word": word},
                help=(f"set it to {', '.join(Accelerator)}, or unset it",),
            ) from None

    def max_image_bytes(self, option: str | None = None) -> int | None:
        """How large an image may be: --max-size, VMCTL_MAX_IMAGE_SIZE, else the usual limits. Raises: `vmctl::usage`."""
        word = option or os.environ.get("VMCTL_MAX_IMAGE_SIZE")
        if not word:
            return None
        from vm_manager.vmfile.values import size_with_unit

        size = size_with_unit(word)
        if not size:
            raise Usage(
                "invalid {name}: '{word}'",
                {"name": "--max-size" if option else "VMCTL_MAX_IMAGE_SIZE", "word": word},
                help=("give a size with its unit, such as 100GiB",),
            )
        return size


#: One process runs one command line.
current = Settings()


class EscapedError(RuntimeError):
    """Carries an exception past Typer, which would end the process silently on a closed pipe or at the end of input."""


class _Helpful:
    """Help that may be piped into a program which ends before it has read all of it, as `head` does."""

    def get_help_option(self, ctx: Any) -> Any:
        """The option, showing what it shows like all other output."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: typer.Context, parameter: Any, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        say_help(ctx)
        raise typer.Exit


def say_help(ctx: typer.Context) -> None:
    """Show a command's help. Raises: `OutputClosed`, `host::disk_full`."""
    with writing_output():  # Typer writes some of it itself
        current.terminal.say_raw(ctx.get_help())


class VmctlCommand(_Helpful, TyperCommand):
    """A command that takes the global options as well as its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *_global_options()]
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, now that all options have been read."""
        show_logs(current.verbose, current.terminal)
        return super().invoke(ctx)


class RemoteCommand(VmctlCommand):
    """Keeps apart what is ours and what is the guest's, in `ctx.obj`: behind `--`, or from the word behind the VM's name on."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the remote command away before the options are read: `uname -a` has an option of its own."""
        at = self._command_begins(args)
        ctx.obj, args = args[at:], args[:at]
        if ctx.obj[:1] == ["--"]:
            del ctx.obj[0]
        return super().parse_args(ctx, args)

    def _command_begins(self, args: Sequence[str]) -> int:
        named, number = False, 0
        while number < len(args) and (word := args[number]) != "--":
            if word.startswith("-"):
                named = named or word.partition("=")[0] == "--name"
                number += self._takes_value(word)
            elif named:
                break
            else:
                named = True
            number += 1
        return min(number, len(args))

    def _takes_value(self, word: str) -> bool:
        """Whether the next word belongs to an option."""
        option = next((option for option in self.params if word in option.opts), None)
        return option is not None and not getattr(option, "is_flag", False) and not getattr(option, "count", False)


class VmctlGroup(_Helpful, TyperGroup):
    """The command line as a whole, or a command with commands of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *_global_options()]
        super().__init__(*args, **kwargs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name. Raises: `vmctl::usage`, with the name that was probably meant."""
        command = super().get_command(ctx, cmd_name)
        if command is None and not cmd_name.startswith("-") and not ctx.resilient_parsing:
            from vm_manager.cli.usage import unknown_command

            raise unknown_command(ctx, cmd_name, tuple(self.commands))
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; nothing that ends it is left to Typer."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, EOFError, OSError) as error:
            raise EscapedError from error


def _set(ctx: typer.Context, parameter: Any, value: Any) -> Any:
    # Given before and after the command, whichever says something counts; -v adds up.
    if value and not ctx.resilient_parsing:
        if parameter.name == "verbose":
            value += current.verbose
        setattr(current, parameter.name, value)
    return value


def _one_of(words: Sequence[str]) -> Callable[[typer.Context, Any, str | None], Any]:
    def check(ctx: typer.Context, parameter: Any, value: str | None) -> Any:
        if value and value not in words:
            raise typer.BadParameter(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return _set(ctx, parameter, value)

    return check


def _global_options() -> list[TyperOption]:
    common: dict[str, Any] = {"expose_value": False, "rich_help_panel": _PANEL}
    text: dict[str, Any] = {"type": str, **common}
    return [
        TyperOption(param_decls=["--quiet", "-q"], is_flag=True, callback=_set, help="Show only failures.", **common),
        TyperOption(
            param_decls=["--verbose", "-v"],
            count=True,
            callback=_set,
            help="Log the commands that vmctl runs; -vv also logs QMP.",
            **common,
        ),
        TyperOption(
            param_decls=["--error-format"],
            callback=_one_of(list(ErrorFormat)),
            metavar="FORMAT",
            help="Format of errors: fancy, plain, json or github.",
            **text,
        ),
        TyperOption(
            param_decls=["--color"],
            callback=_one_of(_COLORS),
            metavar="WHEN",
            help="Use color: auto, always or never.",
            **text,
        ),
        TyperOption(
            param_decls=["--backend"], callback=_set, metavar="NAME", help="Backend for new VMs: qemu or noop.", **text
        ),
    ]
