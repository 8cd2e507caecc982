"""What the end of a step's output is taken for: lines as dash, bash, zsh, BusyBox, coreutils, apt and curl write them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vm_manager.domain.share import Mount
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest.findings import Failed, Finding
from vm_manager.guest.last_words import read_last_words

_SHELL = Provisioner(kind=ProvisionerKind.SHELL, inline="make")
_OWNER = "create the user in a step before this one, or change `owner`"
_IN_THE_WAY = "remove that file in a step before this one, or change `destination`"
_FILE = Provisioner(kind=ProvisionerKind.FILE, source="/home/me/motd", destination="/etc", owner="www-data:web")


def _read(said: str, status: int = 1, *, step: Provisioner = _SHELL, user: str = "debian") -> Finding | None:
    failed = Failed(name="web", step=step, status=status, said=said, last=said.splitlines(), elapsed_s=1.0)
    return read_last_words(failed, user)


def test_a_path_in_a_shared_directory_is_looked_for_on_this_host(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    shares = (Mount(source=str(tmp_path), target="/srv/src"),)

    def why(path: str) -> Finding | None:
        said = f"cp: can't stat '{path}': No such file or directory"
        failed = Failed(name="web", step=_SHELL, status=1, said=said, last=(said,), elapsed_s=1.0, shares=shares)
        return read_last_words(failed, "debian")

    assert why("/srv/src/gone") == Finding(
        f"/srv/src/gone is in a shared directory, and this host has no {tmp_path}/gone",
        ("create it on this host, or correct the path",),
    )
    replaced = why("/srv/src/there")
    assert replaced is not None
    assert replaced.help == ("give the guest the new one: `vmctl restart web`",)
    assert "was replaced after the VM was started" in replaced.why
    elsewhere = why("/srv/srcs/there")
    assert elsewhere is not None
    assert "this host" not in elsewhere.why


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ("sh: 1: jq: not found", 127, "the guest has no command jq"),
        ("/bin/bash: line 3: jq: command not found", 127, "the guest has no command jq"),
        ("bash: jq: command not found", 127, "the guest has no command jq"),
        ("zsh:1: command not found: jq", 127, "the guest has no command jq"),
        ("/usr/bin/env: ‘python3’: No such file or directory", 127, "the guest has no command python3"),
        ("env: can't execute 'python3': No such file or directory", 127, "the guest has no python3"),
        ("/bin/bash: line 1: /opt/x: No such file or directory", 127, "the guest has no /opt/x"),
        ("page: 404: not found", 1, None),
        ("sh: 1: /srv/x.sh: Permission denied", 126, "/srv/x.sh in the guest is not executable"),
        ("touch: cannot touch '/etc/x': Permission denied", 1, "user 'debian' lacks the permission"),
        ("sh: 1: cannot create /etc/x: Permission denied", 2, "user 'debian' lacks the permission"),
        (
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n"
            "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?",
            100,
            "user 'debian' lacks the permission",
        ),
        ("git@example.org: Permission denied (publickey).", 128, None),
        ("cat: /srv/x: No such file or directory", 1, "the guest has no /srv/x"),
        ("cat: can't open '/srv/x': No such file or directory", 1, "the guest has no /srv/x"),
        ("ls: cannot access '/srv/x': No such file or directory", 2, "the guest has no /srv/x"),
        ("sh: 1: cd: can't cd to /srv/x", 2, None),
        ("ls: x: No such file or directory", 1, "there is no x where the step looks for it"),
        ("make: *** No targets specified and no makefile found.  Stop.", 2, None),
        ("cat: /x: No such file or directory\nmake: *** [all] Error 1", 2, "the guest has no /x"),
        ("cat: /x: No such file or directory\na\nb\nc", 1, None),
        ("/bin/bash: line 1: /root: Is a directory", 1, "/root is a directory in the guest"),
        ("E: Unable to locate package ngnix", 100, "the guest's package lists have no ngnix"),
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n"
            "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
            100,
            "another program in the guest is installing packages",
        ),
        ("curl: (6) Could not resolve host: example.org", 6, "the guest could not resolve the name of a server"),
        ("wget: bad address 'example.org'", 1, "the guest could not resolve the name of a server"),
        ("", 1, None),
    ],
)
def test_the_end_of_a_commands_output(said: str, status: int, why: str | None) -> None:
    finding = _read(said, status)
    assert (finding.why if finding else None) == why


@pytest.mark.parametrize("user", ["root", ""])
def test_root_is_not_told_to_use_sudo(user: str) -> None:
    assert _read("touch: cannot touch '/etc/x': Permission denied", user=user) is None


@pytest.mark.parametrize(
    ("said", "help"),
    [
        ("/etc is a directory; to copy the file into it, add a trailing slash",
         'to copy the file into it, write destination "/etc/"'),
        ("chown: invalid user: ‘www-data:web’", _OWNER),
        ("chown: unknown group web", _OWNER),
        ("mkdir: cannot create directory ‘/etc/motd’: Not a directory", _IN_THE_WAY),
        ("mkdir: can't create directory '/etc/motd': File exists", _IN_THE_WAY),
        (
            "user debian cannot write to /etc, and sudo is not installed in the guest",
            "choose a `destination` in a directory of 'debian', and move it as root by other means",
        ),
    ],
)  # fmt: skip
def test_the_end_of_an_upload(said: str, help: str) -> None:
    finding = _read(said, step=_FILE)
    assert finding is not None
    assert finding.help[0] == help


def test_a_file_can_be_named_instead() -> None:
    finding = _read("/etc is a directory; to copy the file into it, add a trailing slash", step=_FILE)
    assert finding is not None
    assert finding.help[1] == 'or name the file: destination "/etc/motd"'


def test_a_guest_that_goes_on_and_on_is_no_trouble() -> None:
    began = time.monotonic()
    for said in ("x" * 4096, "/" * 4096, "'/" * 2048, ": " * 2048, "a: /" * 1000, "env: " * 800):
        for end in ("", ": No such file or directory", ": not found", ": Permission denied"):
            _read(f"{said}{end}", 127)
            _read(f"{said}{end}", 126)
    assert time.monotonic() - began < 5
