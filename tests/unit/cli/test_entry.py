"""The one way out of the process: signals, closed streams, bugs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_VMCTL = str(Path(sys.executable).with_name("vmctl"))


def _shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which "$@" is vmctl with its arguments."""
    return subprocess.run(
        ["bash", "-c", script, "bash", _VMCTL, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def _to_nobody(*arguments: str, error_too: bool = False) -> tuple[int, str]:
    """Exit status and standard error of vmctl when nobody reads what it writes."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [_VMCTL, *arguments],
            stdout=writer,
            stderr=writer if error_too else subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["--version"]], ids=" ".join)
def test_output_that_nobody_reads_ends_the_command_silently_with_141(args: list[str]) -> None:
    assert _to_nobody(*args) == (141, "")


@pytest.mark.parametrize("args", [[], ["--help"], ["up", "--help"], ["image"], ["image", "pull", "-h"]], ids=" ".join)
def test_help_that_nobody_reads_ends_the_command_silently_with_141(args: list[str]) -> None:
    assert _to_nobody(*args) == (141, "")


def test_a_failure_keeps_its_status_when_nobody_reads_about_it() -> None:
    assert _to_nobody("status", "nope", error_too=True)[0] in (4, 141)


@pytest.mark.parametrize(("redirection", "args", "status"), [(">&-", ["list"], 0), ("2>&-", ["status", "nope"], 4)])
def test_streams_that_are_closed_from_the_start_change_nothing(redirection: str, args: list[str], status: int) -> None:
    done = _shell(f'"$@" {redirection}', *args)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("args", [["list"], [], ["port", "--help"], ["image"]], ids=" ".join)
def test_output_that_finds_no_space_is_a_full_disk_and_no_bug(args: list[str]) -> None:
    done = _shell('"$@" > /dev/full', *args)
    assert done.returncode == 6
    assert done.stderr.startswith("error[vm_manager::host::disk_full]: no space left for standard output\n")
    assert "MiB are free" not in done.stderr  # of a device it would say nothing


# Bugs and signals. A command that does what no command of ours should is added to the real command line.

_WITH_COMMAND = """
import sys, time
from vm_manager.cli.main import app, main

@app.command("odd")
def odd() -> None:
    print("running", flush=True)
    {body}

main(["odd"])
"""


def _odd(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WITH_COMMAND.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _crashes() -> list[Path]:
    return list((Path(os.environ["XDG_DATA_HOME"]) / "vmctl" / "crashes").glob("*"))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("raise TypeError('a\\nbug')", "TypeError: a bug"),
        ("assert not 'possible'", "AssertionError: "),
        ("raise EOFError", "EOFError: "),
        ("raise BrokenPipeError(32, 'a dead socket')", "BrokenPipeError: [Errno 32] a dead socket"),
    ],
)
def test_a_bug_exits_with_70_and_leaves_its_traceback_in_a_file(body: str, name: str) -> None:
    with _odd(body) as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 70
    (crash,) = _crashes()
    assert stderr.splitlines() == [
        f"error[vmctl::bug]: {name}",
        f"  = help: please report it, with the crash report {crash}",
    ]
    content = crash.read_text()
    assert content.startswith("vmctl ")
    assert "Traceback (most recent call last)" in content
    assert crash.stat().st_mode & 0o777 == 0o600


def test_a_crash_report_that_cannot_be_written_is_no_obstacle() -> None:
    Path(os.environ["XDG_DATA_HOME"]).touch()
    with _odd("raise TypeError('a bug')") as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 70
    assert stderr.startswith("error[vmctl::bug]: TypeError: a bug\n  = note: no crash report could be written: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_with_130(number: signal.Signals) -> None:
    with _odd("time.sleep(60)") as process:
        assert process.stdout
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.startswith("error[vmctl::interrupted]: ")
    assert _crashes() == []


def test_a_signal_that_comes_as_early_as_it_can_ends_the_command_with_130() -> None:
    start = "import os, signal; os.kill(os.getpid(), signal.SIGINT); from vm_manager.__main__ import main; main()"
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); " + start
    done = subprocess.run(
        [sys.executable, "-c", blocked, "list", "--error-format", "json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert '"vmctl::interrupted"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_crash_below_python_says_where() -> None:
    code = """
import ctypes
from vm_manager import __main__ as entry
from vm_manager.cli import main as command_line

command_line.main = lambda: ctypes.string_at(0)
entry.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "in main" in done.stderr


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vm_manager", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "vmctl")
