"""Mistakes on the command line of people who know other tools: what was meant is said, and is something that vmctl takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from driver import Vmctl
from vm_manager.cli.commands import commands, groups
from vm_manager.cli.peers import ADVICE, OPTIONS, SAME


@pytest.fixture
def vmctl(tmp_path: Path) -> Vmctl:
    project = tmp_path / "project"
    project.mkdir()
    (project / "VMFile.kdl").write_text('vm "web" {\n    image "disk.img"\n}\n')
    return Vmctl(project, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "problem", "meant"),
    [
        ("ps", "no such command: 'ps'", "did you mean `vmctl list`?"),
        ("lst", "no such command: 'lst'", "did you mean `vmctl list`?"),
        ("exec web true", "no such command: 'exec'", "to run a command in a VM: `vmctl ssh NAME -- CMD`"),
        ("image ls", "no such command: 'ls'", "did you mean `vmctl image list`?"),
        ("image delete x", "no such command: 'delete'", "did you mean `vmctl image rm`?"),
        ("snapshot rm web one", "no such command: 'rm'", "did you mean `vmctl snapshot delete`?"),
        ("snapshot exec", "no such command: 'exec'", None),
        ("nosuch", "no such command: 'nosuch'", None),
        ("up -d", "no such option: -d", "leave out `-d`: VMs keep running after `vmctl up`"),
        ("up -f x.kdl", "no such option: -f", "did you mean `--file`?"),
        ("-f x.kdl up", "no such option: -f", "write it after the command, as in `vmctl up --file VMFile.kdl`"),
        ("destroy -f web", "no such option: -f", "leave out `-f`: vmctl does not ask"),
        ("stop --force web", "no such option: --force", "to stop it without waiting: `--timeout 0`"),
        ("down -t 5", "no such option: -t", "did you mean `--timeout`?"),
        ("stop --time 5 web", "no such option: --time", "did you mean `--timeout`?"),
        ("stop --all", "no such option: --all", "to stop all VMs in the VMFile: `vmctl down`"),
        ("stop", "missing argument 'NAME...'", "to stop all VMs in the VMFile: `vmctl down`"),
        ("destroy", "missing argument 'NAME...'",
         "to remove all VMs in the VMFile, with their disks: `vmctl down --destroy`"),
        ("resume", "missing argument 'NAME...'", "to see the names of the VMs: `vmctl list`"),
        ("status", "missing argument 'NAME'", "to see the names of the VMs: `vmctl list`"),
        ("image inspect", "missing argument 'IMAGE'", None),
        ("forward 8080:80", "missing argument '[HOST:]GUEST...'",
         "the VM's name comes first: `vmctl forward NAME 8080:80`"),
        ("create web", "missing option '--name'", "name it with an option: `vmctl create --name NAME --image PATH`"),
        ("create --name web --mem 2", "no such option: --mem", "did you mean `--memory`?"),
        ("status -f web", "no such option: -f", None),
        ("ssh -i key web", "no such option: -i", "did you mean `--key`?"),
        ("ssh -t web", "no such option: -t", "leave out `-t`: without a command there is a terminal"),
        (
            "ssh -L 8080:localhost:80 web",
            "no such option: -L",
            "to forward a port of this host into a VM: `vmctl forward NAME 8080:80`",
        ),
        ("ssh -A web", "no such option: -A", "vmctl passes no options to OpenSSH: `vmctl -v ssh NAME` shows the command line"),
        (
            "ssh web -- -L 8080:localhost:80",
            "'-L' is an option, not a command",
            "to forward a port of this host into a VM: `vmctl forward NAME 8080:80`",
        ),
        ("top", "no such command: 'top'", "to see which VMs run: `vmctl list`"),
        ("list -o yaml", "no such option: -o", "did you mean `--json`?"),
        ("log -o x web", "no such option: -o", None),
        ("up --paralel 2", "no such option: --paralel", "did you mean `--parallel`?"),
        ("validate VMFile.kdl", "unexpected argument: VMFile.kdl", "did you mean `vmctl validate --file VMFile.kdl`?"),
        ("list web", "unexpected argument: web", None),
        ("down --timeout soon", "invalid value for '--timeout': 'soon' is not a number", None),
        ("down --timeout -3", "invalid value for '--timeout': -3.0 is not between 0 and 86400", None),
        ("log -n x web", "invalid value for '--tail' / '-n': 'x' is not a whole number", None),
        ("log -n -4 web", "invalid value for '--tail' / '-n': -4 is less than 0", None),
    ],
)  # fmt: skip
def test_what_was_meant_is_said(vmctl: Vmctl, line: str, problem: str, meant: str | None) -> None:
    said = vmctl(*line.split(), status=2).stderr.splitlines()
    command = re.sub(r"`vmctl((?: image| snapshot)?).*", "", said[-1])
    assert said[0] == f"error[vmctl::usage]: {problem}"
    assert said[1:-1] == ([f"  = help: {meant}"] if meant else [])
    assert command == "  = help: run "


def test_a_command_in_place_of_the_vms_name_is_seen_where_there_is_one_vm(vmctl: Vmctl) -> None:
    (vmctl.directory / "disk.img").write_bytes(b"disk")
    said = vmctl("ssh", "ls", "/etc", "-l", status=4).stderr
    assert "  = help: to run a command in VM 'web': `vmctl ssh -- ls /etc -l`\n" in said
    for line in ("ssh wbe", "ssh --name uname", "ssh root@uname"):
        assert "to run a command" not in vmctl(*line.split(), status=4).stderr


def test_each_word_for_a_command_has_one_that_vmctl_has() -> None:
    ours = {
        str(command.name)
        for command in (*commands(), *(each for group in groups() for each in group.commands.values()))
    }
    assert [same for same in SAME if not same & ours] == []
    words = [word for same in SAME for word in same]
    assert len(words) == len(set(words))
    top = {str(command.name) for command in (*commands(), *groups())}
    assert not set(ADVICE) & top


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_options_of_other_tools_are_not_our_own(command: str) -> None:
    ours = {str(each.name): each for each in commands()}
    if command:
        taken = {name for parameter in ours[command].load().params for name in parameter.opts}
        assert not taken & set(OPTIONS[command])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ssh web uname -a", "web"),
        ("ssh web -- uname -a", "web"),
        ("ssh root@web", "web"),
        ("ssh --user root web uname -v --name other", "web"),
        ("ssh --name web uname --name other", "web"),
        ("ssh --color never web -q", "web"),
    ],
)
def test_what_follows_the_name_is_the_guests(vmctl: Vmctl, line: str, name: str) -> None:
    result = vmctl(*line.split(), status=4)
    assert f"no VM is named '{name}'" in result.stderr
