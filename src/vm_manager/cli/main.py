"""The command line's entry, and the one place through which everything leaves: every exit status is decided here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, Any, TextIO

import typer

from vm_manager.cli.commands import commands, groups
from vm_manager.cli.settings import EscapedError, VmctlGroup, current, say_help
from vm_manager.diagnostics.errors import Interrupted, Usage, VmError
from vm_manager.diagnostics.os_errors import of_the_host
from vm_manager.domain.path_text import is_content, no_path
from vm_manager.ui.terminal import OutputClosed

_PATH_OPTIONS = frozenset({"--file", "--image", "--cloud-init", "--ssh-key", "--key"})
_CLOSED_PIPE = 128 + signal.SIGPIPE
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandLine(VmctlGroup):
    """vmctl with all its commands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for command in (*commands(), *groups()):
            self.add_command(command)


app = typer.Typer(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        current.terminal.say(f"vmctl {version('vm-manager')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def vmctl(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run virtual machines from a VMFile.kdl: docker compose for VMs, with clear diagnostics."""
    if ctx.invoked_subcommand is None:
        say_help(ctx)
        raise typer.Exit(2)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and end the process with its status."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    _mend_streams()
    status = _status(argv)
    # Nothing is left that could be interrupted: a signal during Python's own end would make another status of it.
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    if not _flushed(sys.stdout):
        status = status or _CLOSED_PIPE
    _flushed(sys.stderr)
    sys.exit(status)


def _flushed(stream: TextIO) -> bool:
    """Flush a stream that perhaps nobody reads any more: Python does so once more at its end, and would exit with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def _mend_streams() -> None:
    """Streams that a caller closed (`>&-`) are None in Python, and a terminal may not know every character."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _status(argv: Sequence[str] | None) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        _require_paths(sys.argv[1:] if argv is None else argv)
        result = app(args=argv, prog_name="vmctl", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except VmError as error:
        if isinstance(error, Usage):
            _read_error_format(sys.argv[1:] if argv is None else argv)
        return _fail(error)
    except EscapedError as escaped:
        return _escaped(escaped.__cause__)
    except KeyboardInterrupt:
        _read_error_format(sys.argv[1:] if argv is None else argv)
        return _fail(Interrupted("interrupted"))
    except typer.TyperException as error:
        _read_error_format(sys.argv[1:] if argv is None else argv)
        from vm_manager.cli.usage import usage

        return _fail(usage(error))
    except (OutputClosed, SystemExit):
        # We never call sys.exit below main(); Typer does when it writes help to a closed pipe.
        return _CLOSED_PIPE
    except Exception as error:
        return _bug(error)


def _require_paths(argv: Sequence[str]) -> None:
    """Refuse the content of a file where its path belongs, and quote nothing of it. Raises: `vmctl::usage`."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    for number, word in enumerate(own):
        option, given, value = word.partition("=")
        value = value if given else own[number + 1] if number + 1 < len(own) else ""
        if option in _PATH_OPTIONS and is_content(value):
            raise Usage(
                "`{option}` takes a path, not {what}",
                {"option": option, "what": no_path(value) or ""},
                help=(f"save it to a file, and give the path of that: `{option} PATH`",),
            )


def _read_error_format(argv: Sequence[str]) -> None:
    """A mistake before `--error-format` must not hide it: whoever asked for JSON gets JSON."""
    words = [*argv, ""]
    for number, word in enumerate(words[:-1]):
        name, _, value = word.partition("=")
        if name == "--error-format" and not current.error_format:
            current.error_format = value or words[number + 1]


def _escaped(error: BaseException | None) -> int:
    if isinstance(error, KeyboardInterrupt):
        return _fail(Interrupted("interrupted"))
    return _bug(error or RuntimeError("no cause"))


def _fail(error: VmError) -> int:
    current.terminal.show(error.diagnostic)
    return error.exit_code


def _bug(error: BaseException) -> int:
    if (found := of_the_host(error)) is not None:
        found.__cause__ = error
        return _fail(found)
    from vm_manager.cli.crash import report_crash

    return _fail(report_crash(error))
