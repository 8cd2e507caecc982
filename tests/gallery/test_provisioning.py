"""Provisioning"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

import pytest

from conftest import TinyGuest
from driver import VMCTL, Result, Vmctl, ended, wait_for
from first_screen import Gallery
from proofs import prove

_FAILED = "vm_manager::provision::failed"


@dataclass(frozen=True)
class Guest:
    """The tiny guest, up."""

    vmctl: Vmctl
    tiny: TinyGuest

    def define(self, *steps: str) -> None:
        """Write its VMFile, with these provision blocks; the first is in line 5."""
        self.vmctl.write(self.tiny.vm(body="\n    ".join(f"provision {step}" for step in steps)))

    def up(self, *steps: str, status: int | None = 0) -> Result:
        """Write it, and bring it up."""
        self.define(*steps)
        return self.vmctl("up", status=status)

    def run(self, command: str) -> str:
        """What a command in the guest prints."""
        return self.vmctl("ssh", "--", command).stdout

    def type(self, command: str) -> None:
        """Type a command at the guest's console, and return when it has ended."""
        log = self.vmctl.home("tiny") / "console.log"
        subprocess.run(
            [str(VMCTL), "console", "tiny"],
            env=self.vmctl.environment(),
            input=f"{command}; echo typed-$((6*7))\n".encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        wait_for(lambda: "typed-42" in log.read_text(errors="replace"), command)


@pytest.fixture
def guest(running: Vmctl, tiny: TinyGuest) -> Guest:
    """The guest of one row."""
    return Guest(running, tiny)


def _shell(command: str) -> str:
    return f'"shell" {{ inline {json.dumps(command)} }}'


def test_both_steps_replaced_by_another_after_one_failed(guest: Guest, gallery: Gallery) -> None:
    """Two steps, of which the second failed; both are replaced by another one."""
    guest.up(_shell("true"), _shell("exit 3"), status=12)
    guest.define(_shell("touch /root/third"))
    gallery.shows(
        guest.vmctl("plan"),
        None,
        place=None,
        says=("provision", "1 of 1 steps to run: step 1 is new or has changed"),
        stream="stdout",
    )
    gallery.by_hand("provision")
    gallery.works(guest.vmctl("up"))
    assert guest.run("ls /root/third") == "/root/third\n"


def test_a_step_edited_after_it_was_done(guest: Guest, gallery: Gallery) -> None:
    """A step is edited after all of them were done."""
    guest.up(_shell("true"), _shell("echo 1 >/root/config"), _shell("cp /root/config /root/used"))
    guest.define(_shell("true"), _shell("echo 2 >/root/config"), _shell("cp /root/config /root/used"))
    gallery.shows(
        guest.vmctl("plan"),
        None,
        place=None,
        says=("provision", "2 of 3 steps to run: step 2 is new or has changed"),
        never=("already running",),
        stream="stdout",
    )
    gallery.by_hand("provision")
    gallery.works(guest.vmctl("up"))
    assert guest.run("cat /root/used") == "2\n"


def test_a_script_edited_after_it_was_done(guest: Guest, gallery: Gallery) -> None:
    """The script of a step is edited after it was done; its line in the VMFile is the same."""
    guest.vmctl.write("#!/bin/sh\necho 1 >/root/version\n", "setup.sh")
    guest.up('"shell" { script "setup.sh" }')
    assert guest.vmctl("up").stdout == "tiny: already running\n"
    guest.vmctl.write("#!/bin/sh\necho 2 >/root/version\n", "setup.sh")
    gallery.shows(
        guest.vmctl("plan"),
        None,
        place=None,
        says=("1 of 1 steps to run: step 1 is new or has changed",),
        stream="stdout",
    )
    gallery.by_hand("provision")
    gallery.works(guest.vmctl("up"))
    assert guest.run("cat /root/version") == "2\n"


def test_a_step_removed_after_it_was_done(guest: Guest, gallery: Gallery) -> None:
    """A step is removed from the VMFile after it was done: nothing is run again."""
    guest.up(_shell("true"), _shell("echo again >>/root/log"))
    guest.define(_shell("echo again >>/root/log"))
    gallery.shows(guest.vmctl("plan"), None, place=None, says=("no change", "already running"), stream="stdout")
    gallery.by_hand("no change")
    gallery.works(guest.vmctl("up"))
    assert guest.run("cat /root/log") == "again\n"


def test_a_step_that_does_not_exist(guest: Guest, gallery: Gallery) -> None:
    """Step 9 is asked for, and the VMFile has two."""
    guest.define(_shell("true"), _shell("echo second"))
    gallery.shows(
        guest.vmctl("provision", "--step", "9", status=None),
        "vmctl::usage",
        place=None,
        says=("has no step 9", "its last one is step 2"),
    )
    gallery.by_hand("step 2")
    gallery.works(guest.vmctl("provision", "--step", "2"))


_PASSWD = "s,:/[^:]*$,:{shell},"


def _set_shell(shell: str) -> str:
    return f"grep -qx {shell} /etc/shells || echo {shell} >>/etc/shells; sed -i '{_PASSWD.format(shell=shell)}' /etc/passwd"


def test_a_login_without_a_shell(guest: Guest, gallery: Gallery) -> None:
    """The user's shell is /bin/false."""
    guest.run(_set_shell("/bin/false"))
    shown = guest.up(_shell("echo hello"), status=None)
    gallery.shows(
        shown,
        "vm_manager::ssh::no_shell",
        place="VMFile.kdl:4:16",
        says=("user 'root' can log in to the guest, but cannot run commands", "it ended with status 1"),
        never=("fix the step",),
    )
    gallery.by_hand("give 'root' a shell")
    guest.type(_set_shell("/bin/bash"))
    gallery.works(guest.vmctl("up"))


def test_a_login_shell_that_only_prints(guest: Guest, gallery: Gallery) -> None:
    """The user's shell prints what it is asked to run, and ends with 0."""
    guest.run(_set_shell("/bin/echo"))
    gallery.shows(
        guest.up(_shell("echo hello"), status=None),
        "vm_manager::ssh::no_shell",
        place="VMFile.kdl:4:16",
        says=("cannot run commands", "it ended with status 0", "| -c sh -c"),
    )
    gallery.by_hand("give 'root' a shell")
    guest.type(_set_shell("/bin/bash"))
    gallery.works(guest.vmctl("up"))


def test_a_step_that_ends_the_logins_after_it(guest: Guest, gallery: Gallery) -> None:
    """A step leaves a ~/.bashrc that ends shells without a terminal; the next step would not run, and pass for a success."""
    ends = "printf '%s\\n' 'case $- in *i*) ;; *) exit;; esac' >/root/.bashrc"
    gallery.shows(
        guest.up(_shell(ends), _shell("touch /root/marker"), status=None),
        "vm_manager::ssh::no_shell",
        place="VMFile.kdl:6:5",
        says=("cannot run commands", "it ended with status 0"),
    )
    gallery.by_hand("look for `exit` or `exec` in the user's start-up files")
    guest.type("rm /root/.bashrc")
    gallery.works(guest.vmctl("up"))
    assert guest.run("ls /root/marker") == "/root/marker\n"


def test_a_key_bound_to_a_command(guest: Guest, gallery: Gallery) -> None:
    """The key is bound to a command that asks visitors to log in as another user, as root's is in cloud images."""
    keys = "/root/.ssh/authorized_keys"
    bound = 'command="echo Please login as the user debian; exit 142" '
    guest.run(f"cp {keys} /root/keys; printf '{bound}' >{keys}; cat /root/keys >>{keys}")
    shown = guest.up(_shell("echo hello"), status=None)
    gallery.shows(
        shown,
        "vm_manager::ssh::no_shell",
        place="VMFile.kdl:4:16",
        says=("cannot run commands", "| Please login as the user debian"),
    )
    prove(shown, "vm_manager::ssh::no_shell", evidence="Please login as the user debian")
    gallery.by_hand("a key without `command=`")
    guest.type(f"cp /root/keys {keys}")
    gallery.works(guest.vmctl("up"))


def test_a_guest_out_of_memory(guest: Guest, gallery: Gallery) -> None:
    """A step takes more memory than the guest has, and the guest's kernel kills it."""
    gallery.shows(
        guest.up(_shell("awk 'BEGIN { for (;;) a[i++] = sprintf(\"%500000d\", 1) }'"), status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("the guest ran out of memory, and its kernel killed awk", "raise `memory`", "Killed process"),
        never=("fix the step",),
    )
    gallery.by_hand("raise `memory` in the VMFile")
    guest.define(_shell("awk 'BEGIN { print 1 }'"))
    gallery.works(guest.vmctl("up"))


def test_a_full_disk_in_the_guest(guest: Guest, gallery: Gallery) -> None:
    """A step fills a file system of the guest."""
    guest.run("mount -t tmpfs -o size=2m tmpfs /tmp")
    gallery.shows(
        guest.up(_shell("dd if=/dev/zero of=/tmp/big bs=1M count=3"), status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("the guest's file system /tmp is full", "/tmp: 0 of 2 MiB free", "free up space in the guest"),
        never=("fix the step",),
    )
    gallery.by_hand("free up space in the guest")
    guest.run("rm /tmp/big; mount -o remount,size=20m /tmp")
    gallery.works(guest.vmctl("up"))


def test_a_full_tmp_before_a_step(guest: Guest, gallery: Gallery) -> None:
    """The guest's /tmp is full before the first step."""
    guest.run("mount -t tmpfs -o size=1m tmpfs /tmp && dd if=/dev/zero of=/tmp/big bs=1k 2>/dev/null; true")
    guest.vmctl.write("#!/bin/sh\necho hello\n" + "#" * 10000, "setup.sh")
    gallery.shows(
        guest.up('"shell" { script "setup.sh" }', status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("could not be sent to the guest: the guest's file system /tmp is full",),
    )
    gallery.by_hand("free up space in the guest")
    guest.run("rm /tmp/big")
    gallery.works(guest.vmctl("up"))


def test_a_file_larger_than_the_space(guest: Guest, gallery: Gallery) -> None:
    """A file of 3 GiB goes onto a file system that has 16 MiB: nothing is sent."""
    guest.run("mkdir -p /srv && mount -t tmpfs -o size=16m tmpfs /srv")
    with (guest.vmctl.directory / "big").open("wb") as file:
        file.truncate(3 * 1024**3)
    gallery.shows(
        guest.up('"file" { source "big"; destination "/srv/big" }', status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=(
            "could not write /srv/big in the guest: the guest's disk is full",
            "3072 MiB are needed, 16 MiB are free",
            "larger `disk`",
        ),
        never=("fix the step",),
    )
    gallery.by_hand("free up space in the guest")
    with (guest.vmctl.directory / "big").open("wb") as file:
        file.truncate(3 * 1024**2)
    gallery.works(guest.vmctl("up"))


def test_an_interpreter_that_is_not_installed(guest: Guest, gallery: Gallery) -> None:
    """A script's first line names an interpreter that the guest does not have."""
    guest.vmctl.write("#!/usr/bin/python3\nprint(1)\n", "setup.py")
    gallery.shows(
        guest.up(_shell("true"), '"shell" { script "setup.py" }', status=None),
        _FAILED,
        place="VMFile.kdl:6:5",
        says=("/usr/bin/python3, which its script's first line names, is not installed in the guest",),
        never=("fix the step",),
    )
    gallery.by_hand("install it in a step before this one")
    guest.define(
        _shell("mkdir -p /usr/bin && cd /usr/bin && echo '#!/bin/sh' >python3 && chmod +x python3"),
        '"shell" { script "setup.py" }',
    )
    gallery.works(guest.vmctl("up"))


def test_a_guest_that_is_reset_under_a_step(guest: Guest, gallery: Gallery) -> None:
    """The guest crashes and restarts while a step runs."""
    guest.vmctl.write("#!/bin/sh\necho begun\nsleep 600\n", "setup.sh")
    guest.define('"shell" { script "setup.sh" }')
    process = guest.vmctl.start("up")
    log = guest.vmctl.home("tiny") / "provision.log"
    wait_for(lambda: log.exists() and "stdout: begun" in log.read_text(), "the step")
    guest.run("(sleep 1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    shown = ended(process)
    gallery.shows(
        shown,
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("the guest rebooted during provisioning step 1", "continues from step 1"),
        never=("connection was lost", "fix the step"),
    )
    guest.vmctl.write("#!/bin/sh\necho done\n", "setup.sh")
    gallery.works(Result(gallery.fix(guest.vmctl, "vmctl up").returncode, "", ""))


def test_a_step_that_powers_the_guest_off(guest: Guest, gallery: Gallery) -> None:
    """A step powers the guest off."""
    gallery.shows(
        guest.up(_shell("true"), _shell("poweroff -f; sleep 600"), status=None),
        "vm_manager::qemu::exited",
        place="VMFile.kdl:6:5",
        says=("the guest powered itself off", "during provisioning step 2: poweroff -f; sleep 600"),
        never=("QEMU exited",),
    )
    gallery.fix(guest.vmctl, "vmctl start")
    guest.define(_shell("true"))
    gallery.works(guest.vmctl("up"))


def test_a_step_that_ends_its_own_connection(guest: Guest, gallery: Gallery) -> None:
    """A step ends the process that serves its connection, as a restart of the network may; sshd goes on."""
    gallery.shows(
        guest.up(_shell("kill -KILL $PPID; sleep 600"), status=None),
        "vm_manager::ssh::failed",
        place="VMFile.kdl:5:5",
        says=("the SSH connection was lost during provisioning step 1: the guest runs, and its sshd answers",),
        never=("rebooted",),
    )
    gallery.by_hand("let it do so in the background")
    guest.define(_shell("(sleep 1; kill -KILL $PPID) >/dev/null 2>&1 &"))
    gallery.works(guest.vmctl("up"))


def test_a_step_that_stops_sshd(guest: Guest, gallery: Gallery) -> None:
    """A step stops sshd, and its own connection with it."""
    gallery.shows(
        guest.up(_shell("killall -KILL dropbear; sleep 600"), status=None),
        "vm_manager::ssh::failed",
        place="VMFile.kdl:5:5",
        says=("nothing listens on its SSH port any more", "vmctl console tiny"),
    )
    gallery.by_hand("start sshd again")
    guest.type("dropbear -E -s -r /etc/dropbear/hostkey")
    guest.define(_shell("true"))
    gallery.works(guest.vmctl("up"))


def test_up_while_the_guest_restarts(guest: Guest, gallery: Gallery) -> None:
    """A guest that was ready is restarted from inside, and `up` comes before its sshd does."""
    guest.define(_shell("echo hello"))
    events = guest.vmctl.home("tiny") / "events.log"
    before = events.read_text().count("event=2")
    guest.run("(sleep 1; reboot -f) >/dev/null 2>&1 &")
    wait_for(lambda: events.read_text().count("event=2") > before, "the restart")
    shown = guest.vmctl("up", status=None)
    gallery.shows(shown, None, place=None, says=("tiny: provisioned (1 step)",), stream="stdout")
    gallery.by_hand("provisioned")
    gallery.works(shown)


def test_a_destination_that_is_a_directory(guest: Guest, gallery: Gallery) -> None:
    """A file's destination is a directory of the guest."""
    guest.vmctl.write("x", "motd")
    gallery.shows(
        guest.up('"file" { source "motd"; destination "/root" }', status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("could not write /root in the guest: it is a directory",),
        never=("fix the step",),
    )
    gallery.by_hand('to copy the file into it, write destination "/root/"')
    gallery.works(guest.up('"file" { source "motd"; destination "/root/" }'))


def test_an_owner_who_does_not_exist(guest: Guest, gallery: Gallery) -> None:
    """A file's owner is no user of the guest."""
    guest.vmctl.write("x", "motd")
    gallery.shows(
        guest.up('"file" { source "motd"; destination "/root/motd"; owner "www-data" }', status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("the guest has no owner 'www-data'",),
    )
    gallery.by_hand("or change `owner`")
    gallery.works(guest.up('"file" { source "motd"; destination "/root/motd"; owner "root" }'))


def test_a_command_that_is_not_installed(guest: Guest, gallery: Gallery) -> None:
    """A step runs a program that the guest does not have."""
    shown = guest.up(_shell("jq . /etc/hostname"), status=None)
    gallery.shows(shown, _FAILED, place="VMFile.kdl:5:5", says=("exited with 127: the guest has no command jq",))
    gallery.by_hand("install it in a step before this one")
    install = _shell("printf '#!/bin/sh\\n' >/bin/jq; chmod 755 /bin/jq")
    gallery.works(guest.up(install, _shell("jq . /etc/hostname")))


def test_a_file_of_the_host_in_a_step(guest: Guest, gallery: Gallery) -> None:
    """A step reads a file that is on the host only."""
    guest.vmctl.write("x", "app.conf")
    step = _shell("cat /srv/app.conf")
    gallery.shows(
        guest.up(step, status=None), _FAILED, place="VMFile.kdl:5:5", says=("the guest has no /srv/app.conf",)
    )
    gallery.by_hand('add a `provision "file"` block before this one')
    gallery.works(guest.up('"file" { source "app.conf"; destination "/srv/app.conf" }', step))


def test_a_program_that_is_not_executable(guest: Guest, gallery: Gallery) -> None:
    """A step runs a file without the right to execute it."""
    guest.vmctl.write("echo hi", "hi.sh")
    put = '"file" { source "hi.sh"; destination "/srv/hi.sh"; mode "644" }'
    gallery.shows(
        guest.up(put, _shell("/srv/hi.sh"), status=None),
        _FAILED,
        place="VMFile.kdl:6:5",
        says=("exited with 126: /srv/hi.sh in the guest is not executable",),
    )
    gallery.by_hand("run it with its interpreter, as in `sh FILE`")
    gallery.works(guest.up(put, _shell("sh /srv/hi.sh")))


def test_provisioning_a_stopped_vm(guest: Guest, gallery: Gallery) -> None:
    """`vmctl provision` of a VM that is stopped."""
    guest.define(_shell("true"))
    guest.vmctl("stop", "tiny")
    gallery.shows(
        guest.vmctl("provision", status=None),
        "vm_manager::vm::invalid_state",
        place=None,
        says=("requires a running VM",),
    )
    gallery.fix(guest.vmctl, "vmctl start")
    gallery.works(guest.vmctl("provision"))


def test_provisioning_without_steps(guest: Guest, gallery: Gallery) -> None:
    """`vmctl provision` of a VM that has no `provision` block."""
    gallery.shows(guest.vmctl("provision"), None, place=None, says=("no provisioners",), stream="stdout")
    gallery.by_hand("no provisioners")
    gallery.works(guest.up(_shell("true")))


def test_a_step_that_asks(guest: Guest, gallery: Gallery) -> None:
    """A step asks a question: there is nobody to answer, and it ends instead of hanging."""
    gallery.shows(
        guest.up(_shell("printf 'Continue? '; read answer || exit 1"), status=None),
        _FAILED,
        place="VMFile.kdl:5:5",
        says=("exited with 1", "Continue?"),
    )
    gallery.by_hand("fix the step")
    gallery.works(guest.up(_shell("echo yes | { read answer; test $answer = yes; }")))
