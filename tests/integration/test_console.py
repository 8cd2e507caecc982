"""The serial console and the logs, with real QEMU, guests of one sector and a pseudo-terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from boot_sectors import echo_disk, flood_disk
from driver import LIMIT_S, VMCTL, Vmctl, qemu_processes, wait_for
from proofs import prove
from vm_manager.backends.qemu.query import console_is_taken
from vm_manager.backends.qemu.sockets import socket_path
from vm_manager.state.log_rotation import CAP_BYTES

LOCAL_FLAGS = 3
CAP_MARGIN = 3 * CAP_BYTES  # a machine on which the keeper waits for its turn for many seconds


def up(vmctl: Vmctl, make_disk: Callable[[Path], None]) -> Vmctl:
    """A project whose VM `vm` is up with such a disk."""
    make_disk(vmctl.directory / "disk.qcow2")
    vmctl.write('vm "vm" {\n    image "disk.qcow2"\n    memory 64\n    accel "tcg"\n}\n')
    vmctl("up")
    return vmctl


@pytest.fixture
def echo(vmctl: Vmctl) -> Vmctl:
    """A guest that sends back every byte."""
    return up(vmctl, echo_disk)


@pytest.fixture
def flood(vmctl: Vmctl) -> Vmctl:
    """A guest that writes to its console as fast as it can."""
    return up(vmctl, flood_disk)


@contextmanager
def terminal(vmctl: Vmctl, program: str, *args: str) -> Iterator[Any]:
    """A program on a terminal that stays open behind it, so that its settings can be looked at afterwards.

    So it never comes to an end of file: its end is to be waited for.
    """
    child = pexpect.spawn(
        program,
        list(args),
        cwd=str(vmctl.directory),
        env=vmctl.environment(TERM="xterm-256color"),
        timeout=120,
    )
    keep = os.open(f"/proc/{child.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)
    try:
        yield child
    finally:
        child.close(force=True)
        os.close(keep)


def settings(child: Any) -> list[Any]:
    """What tcsetattr(3) has set on a child's terminal."""
    return termios.tcgetattr(child.child_fd)


def is_raw(child: Any) -> bool:
    """Whether keys reach the program one by one, Ctrl-C too."""
    return not settings(child)[LOCAL_FLAGS] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_keys_and_answers_pass_through_and_ctrl_bracket_leaves_the_terminal_as_it_was(echo: Vmctl) -> None:
    with terminal(echo, str(VMCTL), "console", "vm") as child:
        before = settings(child)
        child.expect_exact(b"connected to the console of VM 'vm'; press Ctrl+] to leave")
        wait_for(lambda: is_raw(child), "the raw terminal")
        child.send(b"first\x03\x1a\x1c")
        child.expect_exact(b"first\x03\x1a\x1c")
        child.setwinsize(50, 132)
        child.send("zweite Zeile ✓\r".encode())
        child.expect_exact("zweite Zeile ✓\r".encode())
        child.sendcontrol("]")
        child.expect_exact(b"left the console of VM 'vm'")
        child.wait()
        assert child.exitstatus == 0
        assert settings(child) == before
    assert echo("console", "vm").status == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(echo: Vmctl, number: signal.Signals) -> None:
    with terminal(echo, str(VMCTL), "console", "vm") as child:
        before = settings(child)
        wait_for(lambda: is_raw(child), "the raw terminal")
        child.kill(number)
        child.expect_exact(b"interrupted")
        child.wait()
        assert child.exitstatus == 130
        assert settings(child) == before


def test_qemus_death_ends_it_and_the_terminal_is_as_it_was(echo: Vmctl) -> None:
    with terminal(echo, str(VMCTL), "console", "vm") as child:
        before = settings(child)
        wait_for(lambda: is_raw(child), "the raw terminal")
        os.kill(qemu_processes(echo.data)[0], signal.SIGKILL)
        child.expect_exact(b"VM 'vm' closed its console")
        child.wait()
        assert child.exitstatus == 0
        assert settings(child) == before
    stopped = echo("console", "vm", status=5)
    assert stopped.code == "vm_manager::vm::invalid_state"
    assert "VM 'vm' is stopped; `vmctl console` requires a running VM" in stopped.stderr


def test_a_second_console_is_refused_whoever_has_the_first(echo: Vmctl) -> None:
    with terminal(echo, str(VMCTL), "console", "vm") as child:
        wait_for(lambda: is_raw(child), "the raw terminal")
        refused = echo("console", "vm", status=5)
        prove(refused, "vm_manager::state::locked")
        assert f"`vmctl console vm` (pid {child.pid}) is connected to the console of VM 'vm'" in refused.stderr
        child.send(b"still here")
        child.expect_exact(b"still here")
    with socket_path(echo.home("vm"), "console.sock") as path, socket.socket(socket.AF_UNIX) as other:
        other.connect(path)
        wait_for(lambda: console_is_taken(echo.home("vm"), "console"), "the other program")
        refused = echo("console", "vm", status=5)
        assert refused.code == "vm_manager::state::locked"
        assert "another program is connected to the console of VM 'vm'" in refused.stderr
    assert echo("console", "vm").status == 0


def test_more_than_any_buffer_holds_that_is_pasted_arrives_and_comes_back_whole(echo: Vmctl) -> None:
    # Every byte but the one that leaves. A socket's buffer, the largest on the way, has 208 KiB (net.core.wmem_default).
    pasted = bytes(byte for byte in range(256) if byte != 0x1D) * 1100
    assert len(pasted) > 270_000
    with terminal(echo, str(VMCTL), "console", "vm") as child:
        child.expect_exact(b"leave\r\n")
        wait_for(lambda: is_raw(child), "the raw terminal")

        def paste() -> None:
            rest = memoryview(pasted)
            while rest:
                rest = rest[os.write(child.child_fd, rest[:4096]) :]

        typist = threading.Thread(target=paste)
        typist.start()
        shown = b""
        while len(shown) < len(pasted):
            shown += child.read_nonblocking(65536, timeout=LIMIT_S)
        typist.join()
        assert shown == pasted


def test_a_console_that_is_stopped_leaves_the_guest_alone_and_comes_back(echo: Vmctl) -> None:
    home = echo.home("vm")
    with terminal(echo, "bash", "--norc", "--noprofile", "-i") as shell:
        shell.sendline(f"PS1='ready> '; stty -g >before; {VMCTL} console vm".encode())
        wait_for(lambda: is_raw(shell) and console_is_taken(home, "console"), "the console")
        pid = int((echo.data / "vmctl/locks/console/vm.lock").read_text().split('"pid": ')[1].split(",")[0])
        os.kill(pid, signal.SIGTSTP)
        shell.expect_exact(b"Stopped")
        wait_for(lambda: not console_is_taken(home, "console"), "the socket to be left")
        shell.sendline(b"stty -g >stopped; echo looked-''at")
        shell.expect_exact(b"looked-at")
        # The shell's line editor sets the terminal for itself; programs find what they would have found before.
        assert (echo.directory / "stopped").read_text() == (echo.directory / "before").read_text()
        shell.sendline(b"bg; sleep 1; jobs")
        shell.expect_exact(b"Stopped")
        assert not console_is_taken(home, "console")
        shell.sendline(b"fg")
        wait_for(lambda: is_raw(shell) and console_is_taken(home, "console"), "the console")
        shell.send(b"again")
        shell.expect_exact(b"again")
        shell.sendcontrol("]")
        shell.expect_exact(b"left the console")


def test_without_a_terminal_it_is_a_pipe(echo: Vmctl) -> None:
    asked = bytes(range(256)) * 20
    done = subprocess.run(
        [str(VMCTL), "console", "vm"],
        cwd=echo.directory,
        env=echo.environment(),
        input=asked,
        capture_output=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert (done.stdout, done.stderr) == (asked, b"")


def test_a_flooding_guest_neither_waits_for_a_terminal_nor_fills_the_host(flood: Vmctl) -> None:
    home = flood.home("vm")

    def written() -> int:
        return sum(log.stat().st_size for log in home.glob("console.log*"))

    with terminal(flood, str(VMCTL), "console", "vm") as child:
        wait_for(lambda: console_is_taken(home, "console"), "the console")
        before = written()
        # Nobody reads what the terminal is to show, and the guest goes on all the same.
        wait_for(lambda: written() > before + (1 << 19), "the guest to go on")
        child.sendcontrol("]")
        wait_for(lambda: not console_is_taken(home, "console"), "the console to be left")
    wait_for((home / "console.log.2").exists, "the second cut")
    assert written() < 3 * CAP_BYTES + CAP_MARGIN
    assert flood("log", "vm", "--console", "-n", "3").stdout.count("flood flood") >= 2
    keepers = subprocess.run(["pgrep", "-f", "log_keeper.*events.log"], capture_output=True, text=True, check=False)
    mine = [pid for pid in keepers.stdout.split() if Path(f"/proc/{pid}/cwd").resolve() == home]
    assert len(mine) == 1
    flood("destroy", "vm")
    wait_for(lambda: not Path(f"/proc/{mine[0]}").exists(), "the keeper to end")


@contextmanager
def following(vmctl: Vmctl, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`vmctl log -f`, ended and closed afterwards."""
    follower = vmctl.start("log", "vm", "-f", *args)
    with follower:
        try:
            yield follower
        finally:
            follower.kill()


def assert_followed(follower: subprocess.Popen[str], line: str) -> None:
    """The next line is shown; in parts when the guest gets no processor for a second in the middle of it."""
    assert follower.stdout is not None
    parts = [follower.stdout.readline().removesuffix("\n")]
    while not parts[-1].endswith(line[-3:]):
        parts.append(follower.stdout.readline().removesuffix("\n"))
    if len(parts) == 1:
        assert parts == [line]
    else:
        assert "\x1b" not in "".join(parts)
        assert parts[0].startswith(line[:3])


def test_a_followed_log_goes_on_over_a_restart_and_ends_with_ctrl_c(echo: Vmctl) -> None:
    home = echo.home("vm")
    with following(echo, "--console", "-n", "0") as follower:
        assert follower.stdout is not None

        def say(text: bytes) -> None:
            subprocess.run(
                [str(VMCTL), "console", "vm"], env=echo.environment(), input=text, stdout=subprocess.DEVNULL, check=True
            )

        assert follower.stderr is not None
        follower.stderr.readline()  # "is empty": it follows
        say(b"before \x1b[31m the restart\n")
        assert_followed(follower, "before  the restart")
        echo("down", "--timeout", "0")
        echo("up")
        assert (home / "console.log.1").read_bytes() == b"before \x1b[31m the restart\n"
        say(b"after\xff it\n")
        assert_followed(follower, "after\ufffd it")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(LIMIT_S) == 130


def test_nobody_reading_a_followed_log_ends_it_silently(flood: Vmctl) -> None:
    with following(flood) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        assert follower.wait(LIMIT_S) == 141


def test_the_shell_of_a_real_guest(running: Vmctl) -> None:
    with terminal(running, str(VMCTL), "console", "tiny") as child:
        wait_for(lambda: is_raw(child), "the raw terminal")
        child.send(b"\r")
        child.expect_exact(b"# ")
        child.send(b"echo $((6 * 7))-$(tty)\r")
        child.expect_exact(b"42-/dev/ttyS0")
        child.sendcontrol("]")
        child.expect_exact(b"left the console")
    assert "42-/dev/ttyS0" in running("log", "tiny", "--console").stdout
