"""What a guest lacked when a step failed, and what login shells are: by SSH servers that answer anything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from driver import small_file_system
from hostile_sshd import Sshd, hostile_sshd
from vm_manager.diagnostics.errors import NoShell, SshError
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest.aftermath import why_it_failed
from vm_manager.guest.findings import Failed, Finding
from vm_manager.guest.login_shell import require_shell
from vm_manager.guest.ssh import SshSession

_STEP = Provisioner(kind=ProvisionerKind.SHELL, inline="make")
_FAILED = Failed(name="web", step=_STEP, status=1, said="", elapsed_s=10.0)
_DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"


def _answer(directory: Path, answer: bytes, failed: Failed = _FAILED) -> Finding | None:
    def behave(channel: paramiko.Channel) -> None:
        channel.makefile("rb").read()
        channel.sendall(answer)
        channel.send_exit_status(0)

    with hostile_sshd(directory, behave) as sshd, _session(sshd) as session:
        return why_it_failed(session, failed, Deadline(60))


def _session(sshd: Sshd) -> SshSession:
    return SshSession.connect(
        sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts, deadline=Deadline(60)
    )


def _said(**sections: str) -> bytes:
    return "".join(f"vmctl:{name}\n{text}\n" for name, text in sections.items()).encode()


def _failed(said: str = "", status: int = 1) -> Failed:
    return Failed(
        name="web",
        step=_STEP,
        status=status,
        said=said,
        last=said.splitlines(),
        elapsed_s=10.0,
        place="/srv",
        programs=("/usr/bin/perl",),
    )


@pytest.mark.parametrize(
    ("sections", "failed", "why"),
    [
        ({"space": f"{_DF}/dev/vda1 100 100 0 100% /"}, _failed(), "the guest's file system / is full"),
        ({"space": f"{_DF}/dev/vda1 9999999 1 9999998 1% /"}, _failed(), None),
        (
            {"space": f"{_DF}/dev/vda1 9999999 1 9999998 1% /"},
            _failed("x: No space left on device"),
            "the guest's disk is full",
        ),
        (
            {"inodes": f"{_DF}/dev/vda1 100 100 0 100% /srv"},
            _failed(),
            "the guest's file system /srv has no inodes left",
        ),
        # A live system's root is always full.
        (
            {"space": f"{_DF}/dev/loop0 100 100 0 100% /", "mounts": "/dev/loop0 / squashfs ro,relatime 0 0"},
            _failed(),
            None,
        ),
        (
            {"mounts": "/dev/vda1 / ext4 ro,relatime 0 0"},
            _failed("touch: x: Read-only file system"),
            "the guest's root file system is read-only",
        ),
        ({"mounts": "/dev/vda1 / ext4 rw,errors=remount-ro 0 0"}, _failed("Read-only file system"), None),
        (
            {"uptime": "100.00 1.0", "killed": "[   95.100000] Out of memory: Killed process 9 (cc1) total-vm:1kB"},
            _failed(),
            "the guest ran out of memory, and its kernel killed cc1",
        ),
        # Before the step began.
        (
            {"uptime": "100.00 1.0", "killed": "[   5.1] Out of memory: Killed process 9 (cc1) total-vm:1kB"},
            _failed(),
            None,
        ),
        (
            {"missing": "/usr/bin/perl"},
            _failed(status=127),
            "/usr/bin/perl, which its script's first line names, is not installed in the guest",
        ),
        ({"missing": "/usr/bin/perl"}, _failed(status=2), None),
        (
            {"sudo": "sudo: a password is required\nvmctl:refused"},
            _failed("sudo: a password is required"),
            "sudo in the guest demands a password",
        ),
        ({"sudo": "sudo: a password is required\nvmctl:refused"}, _failed("make: error"), None),
        (
            {"sudo": "sudo: sorry, you must have a tty to run sudo\nvmctl:refused"},
            _failed("sudo: sorry, you must have a tty to run sudo"),
            "sudo in the guest demands a terminal",
        ),
        (
            {"sudo": "sh: sudo: not found\nvmctl:refused"},
            _failed("sh: 1: sudo: not found", status=127),
            "the guest has no command sudo",
        ),
        # What the step itself said, where the guest lacks nothing.
        (
            {"user": "debian"},
            _failed("touch: cannot touch '/etc/x': Permission denied"),
            "user 'debian' lacks the permission",
        ),
        ({"user": "root"}, _failed("touch: cannot touch '/etc/x': Permission denied"), None),
        ({"user": "\x1b[2J"}, _failed("touch: cannot touch '/etc/x': Permission denied"), None),
        ({}, _failed("cat: /srv/x: No such file or directory"), "the guest has no /srv/x"),
    ],
)
def test_what_a_guest_lacked(sections: dict[str, str], failed: Failed, why: str | None, tmp_path: Path) -> None:
    finding = _answer(tmp_path, _said(**sections), failed)
    assert (finding.why if finding else None) == why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_full_file_system_of_this_host_is_not_the_guests(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "128k") as small:
        (small / "file").write_bytes(bytes(128 * 1024))
        failed = replace(_failed("dd: No space left on device"), shares=(Mount(source=str(small), target="/srv"),))
        finding = _answer(tmp_path, _said(space=f"{_DF}/dev/vda1 100000 1 99999 1% /"), failed)
        assert finding is not None
        assert finding.why == f"this host's file system is full: {small}, which the guest has on /srv"
        assert finding.help == (f"free some disk space (`df -h {small}` shows how much is left)",)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\xff" * 1000,
        b"vmctl:space\n" + b"/dev/x " + b"9" * 20_000 + b" 1 0 1% /\n",
        b"vmctl:uptime\nnan inf\nvmctl:killed\n[" + b" " * 20_000 + b"1.0] killed process 1 (x)\n",
        b"vmctl:space\n" * 2000,
        b"x" * 10_000_000,
        b"vmctl:uptime\n1.0 1\nvmctl:killed\n" + b"[1.0] killed process 1 (" * 600,
        b"vmctl:space\n" + b"1 " * 8000,
    ],
    ids=range(8),
)
def test_a_hostile_answer_is_no_trouble(answer: bytes, tmp_path: Path) -> None:
    try:
        _answer(tmp_path, answer, _failed("sudo: Read-only file system"))
    except SshError:
        pytest.fail("a failed step is to be told, not what was asked after it")


def test_what_a_guest_says_cannot_drive_a_terminal(tmp_path: Path) -> None:
    killed = "[   95.1] Out of memory: Killed process 9 (\x1b[31mred\u202e) total-vm:1kB"
    finding = _answer(tmp_path, _said(uptime="100.00 1.0", killed=killed))
    assert finding is not None
    assert "\x1b" not in finding.evidence[0].lines[0]


@pytest.mark.parametrize(
    ("printed", "status", "runs"),
    [
        (b"vmctl:42\n", 0, True),
        (b"Welcome!\nvmctl:42\r\n", 0, True),
        (b"-c sh -c 'echo vmctl:$((6 * 7))'\n", 0, False),
        (b"This account is currently not available.\n", 1, False),
        (b"", 0, False),
        (b"x" * 1_000_000, 0, False),
    ],
)
def test_a_login_runs_commands_or_not(printed: bytes, status: int, runs: bool, tmp_path: Path) -> None:
    def behave(channel: paramiko.Channel) -> None:
        channel.makefile("rb").read()
        channel.sendall(printed)
        channel.send_exit_status(status)

    with hostile_sshd(tmp_path, behave) as sshd, _session(sshd) as session:
        if runs:
            require_shell(session, "web", "root", Deadline(60), lambda: None)
        else:
            with pytest.raises(NoShell, match="user 'root' can log in to the guest, but cannot run commands"):
                require_shell(session, "web", "root", Deadline(60), lambda: None)
