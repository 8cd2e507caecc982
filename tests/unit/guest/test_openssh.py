"""OpenSSH's command line and its known hosts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from unit.golden import assert_golden, command_text
from vm_manager.domain.instance import Endpoint
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.openssh import known_hosts_text, ssh_argv


def _argv(home: Path, *, agent: bool = False, command: tuple[str, ...] = ()) -> list[str]:
    return ssh_argv(
        Path(shutil.which("ssh") or "ssh"),
        alias="web",
        endpoint=Endpoint("127.0.0.1", 40022),
        credentials=Credentials("debian", (home / "id",), agent),
        known_hosts=home / "known_hosts",
        command=command,
    )


def _understood(argv: list[str]) -> dict[str, str]:
    """What OpenSSH itself makes of a command line."""
    done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_the_command_line_is_complete() -> None:
    argv = ["ssh", *_argv(Path("/data/vms/web"), command=("uname", "-a"))[1:]]
    assert_golden("ssh.txt", command_text(argv))


@pytest.mark.parametrize("name", ["web", "my data", "a'b", "日本"])
def test_openssh_understands_paths_as_they_are(tmp_path: Path, name: str) -> None:
    found = _understood(_argv(tmp_path / name))
    assert found["userknownhostsfile"] == f"{tmp_path}/{name}/known_hosts"
    assert found["identityfile"] == f"{tmp_path}/{name}/id"


def test_a_percent_sign_in_a_path_is_doubled_as_openssh_expands_it() -> None:
    argv = _argv(Path("/data 100%/web"))
    assert 'UserKnownHostsFile="/data 100%%/web/known_hosts"' in argv
    assert 'IdentityFile="/data 100%%/web/id"' in argv


def test_the_host_key_is_always_verified_and_passwords_are_never_asked_for(tmp_path: Path) -> None:
    found = _understood(_argv(tmp_path))
    assert found["stricthostkeychecking"] == "true"
    assert found["hostkeyalias"] == "web"
    assert found["passwordauthentication"] == found["kbdinteractiveauthentication"] == "no"
    assert (found["user"], found["port"], found["hostname"]) == ("debian", "40022", "127.0.0.1")


def test_an_agent_is_asked_only_when_the_credentials_say_so(tmp_path: Path) -> None:
    assert _understood(_argv(tmp_path))["identitiesonly"] == "yes"
    assert _understood(_argv(tmp_path, agent=True))["identitiesonly"] == "no"


def test_a_command_that_looks_like_an_option_stays_a_command(tmp_path: Path) -> None:
    assert _understood(_argv(tmp_path, command=("-p", "1")))["port"] == "40022"


def test_hosts_are_known_by_the_vms_name_and_without_comments() -> None:
    assert known_hosts_text("web", ["ssh-ed25519 AAAA1 me@here", "ssh-rsa AAAA2\n"]) == (
        "web ssh-ed25519 AAAA1\nweb ssh-rsa AAAA2\n"
    )
