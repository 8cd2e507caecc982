"""Provisioners in a real guest: what they may print and do, and what is made of it. One guest for all of the module."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import Result, SavedGuest, Vmctl, interrupted, wait_for


class Guest:
    """A tiny guest that is up, and the project that it comes from."""

    def __init__(self, vmctl: Vmctl, tiny: TinyGuest) -> None:
        self.vmctl, self._tiny = vmctl, tiny

    def define(self, *steps: str) -> None:
        """Write a VMFile with these provision blocks."""
        blocks = "\n    ".join(f"provision {step}" for step in steps)
        self.vmctl.write(self._tiny.vm(body=blocks))

    def provision(self, *steps: str, status: int = 0) -> Result:
        """Write them and run them."""
        self.define(*steps)
        return self.vmctl("provision", status=status)

    def run(self, command: str) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "--", command).stdout

    def write(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        """A file of the project."""
        path = self.vmctl.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    @property
    def log(self) -> str:
        """provision.log, as far as it has not begun anew."""
        return (self.vmctl.home("tiny") / "provision.log").read_text()


@pytest.fixture(scope="module")
def guest(tiny: TinyGuest, saved_tiny: SavedGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    vmctl = saved_tiny.restore(Vmctl.below(tmp_path_factory.mktemp("provisioners")))
    yield Guest(vmctl, tiny)
    vmctl.destroy_all()


def said(result: Result) -> list[str]:
    """What the guest's outputs brought to standard error."""
    return [line.removeprefix("tiny | ") for line in result.stderr.splitlines() if line.startswith("tiny | ")]


def test_variables_reach_the_step_and_no_other_and_are_not_quoted(guest: Guest) -> None:
    guest.write("print.sh", b'printf \'%s|%s|\\n\' "$ODD" "$EMPTY"\n')
    result = guest.provision(
        r""""shell" { env "ODD" "it's \"a\"\n$(id) `id` \\ $HOME"; env "EMPTY" ""; script "print.sh" }""",
        '"shell" { inline "echo \\"<${ODD-none}>\\"" }',
        '"shell" { env "TOKEN" "hunter22"; inline "echo using $TOKEN; echo $TOKEN >&2; exit 4" }',
        status=12,
    )
    assert said(result)[:3] == ['it\'s "a"', "$(id) `id` \\ $HOME||", "<none>"]
    diagnostic = result.stderr.partition("error[")[2]
    assert "exited with 4" in diagnostic
    assert "hunter22" not in diagnostic
    assert "using …" in diagnostic
    journal = (guest.vmctl.home("tiny") / "journal.jsonl").read_text()
    assert "hunter22" not in journal


def test_a_script_has_its_variables_and_leaves_nothing_behind_when_it_fails(guest: Guest) -> None:
    guest.write("-odd $(touch x) name.sh", b'#!/bin/bash\necho "$0 $MODE" "$(stat -c %a "${0%/*}")"\nexit 9\n')
    result = guest.provision('"shell" { script "-odd $(touch x) name.sh"; env "MODE" "a b" }', status=12)
    assert re.fullmatch(r"/tmp/vmctl\.\w+/-odd \$\(touch x\) name\.sh a b 700", said(result)[0])
    assert guest.run("ls -a /tmp /root | grep -e vmctl -e '^x$'; true") == ""


def test_a_prompt_without_line_end_is_shown_while_the_step_still_runs(guest: Guest) -> None:
    guest.define('"shell" { inline "printf \'Continue? \'; sleep 600" }')
    process = guest.vmctl.start("provision", start_new_session=True)
    assert process.stderr is not None
    descriptor, shown = process.stderr.fileno(), b""
    os.set_blocking(descriptor, False)

    def arrived() -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(descriptor, 65536)
        return b"tiny | Continue? " in shown

    wait_for(arrived, "the prompt")
    wait_for(lambda: "stdout: Continue?" in guest.log, "the prompt in the log")
    assert interrupted(process).status == 130


def test_both_outputs_come_as_they_are_written(guest: Guest) -> None:
    result = guest.provision('"shell" { inline "for i in 1 2 3; do echo out$i; echo err$i >&2; done" }')
    assert sorted(said(result)) == ["err1", "err2", "err3", "out1", "out2", "out3"]
    assert [line for line in said(result) if line.startswith("out")] == ["out1", "out2", "out3"]
    assert re.search(r"^\d{4}-\d\d-\d\dT[\d:.]+\+00:00 stderr: err2$", guest.log, re.MULTILINE)


def test_fifty_megabytes_of_output_come_through_to_the_last_byte(guest: Guest) -> None:
    line = "0123456789abcdef" * 4 + "\n"
    count = 50 * 1024**2 // len(line)
    result = guest.provision(f'"shell" {{ inline "yes {line.strip()} | head -n {count}; echo the-end" }}')
    lines = said(result)
    assert (len(lines), lines[-1]) == (count + 1, "the-end")
    assert set(lines[:-1]) == {line.strip()}
    # The log begins anew when it has grown large, and keeps the end.
    assert guest.log.count(f"stdout: {line}") > 1000
    assert "stdout: the-end\n" in guest.log


def test_binary_output_and_escape_sequences_reach_neither_terminal_nor_log(guest: Guest) -> None:
    printed = rb"\n\033[31mred\033[0m \033]0;title\007|\200\377|\r\n::error::x\n"
    guest.write("noise.sh", b"head -c 200000 /dev/urandom; printf '" + printed + b"'\n")
    result = guest.provision('"shell" { script "noise.sh" }')
    shown = result.stderr + guest.log
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert "red |\ufffd\ufffd|" in said(result)
    github = guest.vmctl("provision", env={"VMCTL_ERROR_FORMAT": "github"})
    assert not re.search(r"^::error::x", github.stderr, re.MULTILINE)


def test_a_line_of_twenty_megabytes_is_no_trouble(guest: Guest) -> None:
    result = guest.provision('"shell" { inline "head -c 20000000 /dev/zero | tr \'\\\\0\' x; echo; echo after" }')
    assert sum(line.count("x") for line in said(result)) == 20_000_000
    assert said(result)[-1] == "after"


def test_a_step_that_reads_is_at_the_end_at_once(guest: Guest) -> None:
    result = guest.provision('"shell" { inline "cat; read line; echo \\"read: $?\\"" }')
    assert said(result) == ["read: 1"]


def test_what_a_step_leaves_in_the_background_is_not_waited_for(guest: Guest) -> None:
    started = time.monotonic()
    result = guest.provision(
        '"shell" { inline "sleep 3601 & echo started" }',
        '"shell" { inline "while :; do echo x; sleep 0.2; done & true" }',
    )
    assert "started" in said(result)
    assert time.monotonic() - started < 600, "it ended by itself, not when the process did"
    assert guest.run("pidof sleep").strip() != ""
    guest.run("killall sleep")


def test_a_step_that_closes_its_outputs_is_waited_for(guest: Guest) -> None:
    guest.provision('"shell" { inline "exec >&- 2>&-; sleep 2; touch /root/closed" }')
    assert guest.run("ls /root/closed") == "/root/closed\n"


@pytest.mark.parametrize(
    ("inline", "how"),
    [
        ("exit 3", "exited with 3"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("kill -TERM $$", "was killed by SIGTERM"),
        ("sh -c 'kill -SEGV $$'; exit $?", "a command of the step was killed by SIGSEGV"),
        ("nosuchcommand", "the guest has no command nosuchcommand"),
        ("/etc/passwd", "is not executable"),
    ],
)
def test_how_a_step_ended_is_said_exactly(guest: Guest, inline: str, how: str) -> None:
    result = guest.provision('"shell" { inline "true" }', f'"shell" {{ inline "{inline}" }}', status=12)
    assert result.code == "vm_manager::provision::failed"
    assert "provision.log" in result.stderr.partition("= evidence: ")[2]
    assert how in result.stderr
    assert "provisioning step 2 " in result.stderr
    assert "VMFile.kdl:6:" in result.stderr


def test_a_lost_connection_is_no_failed_command(guest: Guest) -> None:
    # The step's parent is the process that serves its connection.
    result = guest.provision(
        '"shell" { inline "true" }',
        '"shell" { inline "echo begun; kill -KILL $PPID; sleep 600" }',
        status=11,
    )
    assert result.code == "vm_manager::ssh::failed", result.stderr
    assert "during provisioning step 2: echo begun" in result.stderr
    assert "VMFile.kdl:6:" in result.stderr


def test_steps_that_run_once_do_so(guest: Guest) -> None:
    once = '"shell" { inline "echo once >>/root/once"; run "once" }'
    always = '"shell" { inline "echo always >>/root/once" }'
    assert guest.provision(once, always).stdout == "tiny: provisioned (2 steps)\n"
    assert guest.vmctl("provision").stdout == "tiny: provisioned (1 step, 1 that runs once left out)\n"
    assert guest.vmctl("up").stdout == "tiny: already running\n"
    assert guest.run("cat /root/once") == "once\nalways\nalways\n"
    # Named by its number it runs all the same.
    assert guest.vmctl("provision", "--step", "1").stdout == "tiny: provisioned (1 step)\n"
    assert guest.run("grep -c once /root/once") == "2\n"
    # Wherever it stands, it is the same one; written anew it is another.
    guest.define(always, once, once.replace("echo", "echo  "))
    assert guest.vmctl("provision").stdout == "tiny: provisioned (2 steps, 1 that runs once left out)\n"


def test_a_single_step_is_run_by_its_number(guest: Guest) -> None:
    guest.define('"shell" { inline "echo first" }', '"shell" { inline "echo second" }')
    assert said(guest.vmctl("provision", "--step", "2")) == ["second"]
    for number in ("0", "3"):
        refused = guest.vmctl("provision", "--step", number, status=2)
        assert refused.code == "vmctl::usage"
    failing = guest.provision('"shell" { inline "true" }', '"shell" { inline "exit 1" }', status=12)
    assert "to continue from step 2" in failing.stderr
    guest.define('"shell" { inline "true" }', '"shell" { inline "true" }', '"shell" { inline "echo third" }')
    # The one that had failed has been done by hand, so `up` goes on behind it.
    guest.vmctl("provision", "--step", "2")
    assert guest.vmctl("up").stdout == "tiny: provisioned (1 step)\n"


def test_files_and_directories_get_their_mode_and_owner(guest: Guest) -> None:
    content = os.urandom(3_000_000)
    guest.write("a file", content, 0o600)
    guest.write("tree/sub/program", b"#!/bin/sh\n", 0o755)
    guest.write("tree/config", b"x = 1\n", 0o640)
    (guest.vmctl.directory / "tree" / "link").symlink_to("config")
    guest.provision(
        '"file" { source "a file"; destination "/srv/it\'s $HOME"; mode "4711"; owner "12:34" }',
        '"file" { source "a file"; destination "/srv/dir/" }',
        '"file" { source "tree"; destination "/srv/tree"; owner "1000" }',
        '"file" { source "tree"; destination "/srv/tree2"; mode "0600" }',
    )
    digest = hashlib.sha256(content).hexdigest()
    assert guest.run("cd /srv && sha256sum it* dir/*").split()[::1][0] == digest
    assert guest.run("cd /srv && stat -c '%a %u %g' it* 'dir/a file' tree/config tree/sub/program").splitlines() == [
        "4711 12 34",
        "600 0 0",
        "640 1000 0",
        "755 1000 0",
    ]
    assert guest.run("cd /srv && readlink tree/link && stat -c %a tree2/sub tree2/sub/program") == "config\n700\n600\n"
    assert guest.run("find /srv -name '.vmctl*'; ls /tmp | grep vmctl; true") == ""


def test_a_destination_that_is_a_directory_is_explained(guest: Guest) -> None:
    guest.write("a file", b"x")
    result = guest.provision('"file" { source "a file"; destination "/root" }', status=12)
    assert result.code == "vm_manager::provision::failed"
    assert "/root is a directory" in result.stderr.partition("= evidence: ")[2]


def test_an_upload_that_is_interrupted_leaves_the_old_file(guest: Guest) -> None:
    guest.write("big", b"old")
    guest.provision('"file" { source "big"; destination "/root/big" }')
    with (guest.vmctl.directory / "big").open("wb") as file:
        file.truncate(100 * 1024**2)
    process = guest.vmctl.start("provision", start_new_session=True)
    wait_for(lambda: "vmctl" in guest.run("ls -a /root"), "the upload")
    assert interrupted(process).status == 130
    wait_for(lambda: "vmctl" not in guest.run("ls -a /root /tmp"), "the guest to clear away what had come")
    assert guest.run("cat /root/big") == "old"


def test_a_guest_that_is_full_says_so(guest: Guest) -> None:
    guest.run("mkdir -p /mnt/small && mount -t tmpfs -o size=1m tmpfs /mnt/small")
    with (guest.vmctl.directory / "big").open("wb") as file:
        file.truncate(40 * 1024**2)
    result = guest.provision('"file" { source "big"; destination "/mnt/small/big" }', status=12)
    assert result.code == "vm_manager::provision::failed"
    assert "No space left on device" in result.stderr.partition("= evidence: ")[2]
    assert guest.run("ls -A /mnt/small") == ""


def test_a_source_that_may_not_be_read_is_a_failure_of_the_host(guest: Guest) -> None:
    (guest.vmctl.directory / "tree2").mkdir()
    os.mkfifo(guest.vmctl.directory / "tree2" / "pipe")
    result = guest.provision('"file" { source "tree2"; destination "/srv/pipes" }', status=12)
    assert "neither a file nor a directory" in result.stderr
    assert guest.run("ls -A /srv | grep -e pipes -e vmctl; true") == ""


def test_a_guest_that_restarts_under_a_step_is_said_to(guest: Guest) -> None:
    result = guest.provision('"shell" { inline "reboot -f; sleep 600" }', status=12)
    assert result.code == "vm_manager::provision::failed", result.stderr
    assert "the guest rebooted during provisioning step 1" in result.stderr
    assert "during provisioning step 1: reboot -f; sleep 600" in result.stderr


def test_what_runs_once_has_run_after_a_restart_too_but_not_in_a_new_vm(guest: Guest) -> None:
    guest.define('"shell" { inline "echo only once"; run "once" }', '"shell" { inline "echo always" }')
    guest.vmctl("down")
    assert said(guest.vmctl("up")) == ["only once", "always"]
    guest.vmctl("down")
    assert said(guest.vmctl("up")) == ["always"]
    assert said(guest.vmctl("reload")) == ["only once", "always"]
