"""SSH"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from conftest import TinyGuest
from driver import LIMIT_S, VMCTL, Result, Vmctl, ended, wait_for
from first_screen import Gallery
from vm_manager.guest.keys import generate_key_pair


def test_another_user_than_the_guest_knows(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` as a user whom the guest does not know."""
    gallery.shows(
        running("ssh", "tiny", "--user", "ubuntu", "--", "id", status=None),
        "vm_manager::ssh::auth_failed",
        place=None,
        says=("the guest rejected the key of user 'ubuntu'",),
        status=255,
    )
    gallery.by_hand("user and key of the ssh block")
    gallery.works(running("ssh", "tiny", "--", "id"))


def test_a_key_that_the_guest_refuses(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` with a key that the guest does not know."""
    key = running.write(generate_key_pair("other").private, "other")
    key.chmod(0o600)
    gallery.shows(
        running("ssh", "tiny", "--key", "other", "--", "id", status=None),
        "vm_manager::ssh::auth_failed",
        place=None,
        says=("the guest rejected the key of user 'root'",),
        status=255,
    )
    gallery.by_hand("user and key of the ssh block")
    gallery.works(running("ssh", "tiny", "--", "id"))


def _type_at_the_console(running: Vmctl, line: str) -> None:
    subprocess.run(
        [VMCTL, "console", "tiny"],
        cwd=running.directory,
        env=running.environment(),
        input=f"{line}\n".encode(),
        capture_output=True,
        timeout=LIMIT_S,
        check=True,
    )


def test_a_guest_that_has_lost_its_keys(running: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """Something in the guest, such as a step, has removed the key with which vmctl logged in before."""
    running("ssh", "tiny", "mv .ssh/authorized_keys .ssh/away")
    gallery.shows(
        running("ssh", "tiny", "id", status=None),
        "vm_manager::ssh::auth_failed",
        place=None,
        says=("the guest rejected the key of user 'root'",),
        status=255,
    )
    gallery.by_hand("the guest accepted this key before")
    _type_at_the_console(running, "mv /root/.ssh/away /root/.ssh/authorized_keys")
    gallery.works(running("ssh", "tiny", "id"))


def test_a_shell_that_is_not_installed(running: Vmctl, gallery: Gallery) -> None:
    """A step has given the user a shell that the guest does not have."""
    running("ssh", "tiny", "echo root:x:0:0:root:/root:/usr/bin/zsh >/etc/passwd")
    gallery.shows(
        running("ssh", "tiny", "id", status=None),
        "vm_manager::ssh::auth_failed",
        place=None,
        says=("the guest rejected the key of user 'root'", "User 'root' has invalid shell, rejected"),
        status=255,
    )
    gallery.by_hand("has changed the user, its shell")
    _type_at_the_console(running, "echo root:x:0:0:root:/root:/bin/sh >/etc/passwd")
    gallery.works(running("ssh", "tiny", "id"))


def test_a_private_key_that_others_can_read(running: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """`vmctl ssh` with a private key that others can read, as a copy often can be."""
    key = running.write(tiny.key.read_text(), "copy")
    key.chmod(0o644)
    gallery.shows(
        running("ssh", "tiny", "--key", "copy", "--", "id", status=None),
        "vm_manager::ssh::no_key",
        place=None,
        says=("others can read it (mode 0644)",),
        status=255,
    )
    gallery.fix(running, "chmod 600")
    gallery.works(running("ssh", "tiny", "--key", "copy", "--", "id"))


def test_a_private_key_with_a_passphrase(running: Vmctl, gallery: Gallery) -> None:
    """The VMFile names a private key that has a passphrase."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", running.directory / "locked"], check=True
    )
    text = (running.directory / "VMFile.kdl").read_text()
    running.write(re.sub('private-key "[^"]*"', 'private-key "locked"', text))
    gallery.shows(
        running("validate", status=None),
        "vm_manager::vmfile::validation",
        place="VMFile.kdl:4:36",
        says=("has a passphrase, which vmctl cannot ask for",),
        never=("secret",),
    )
    gallery.by_hand("leave it out")
    running.write(text)
    gallery.works(running("validate"))


def test_a_guest_with_a_new_host_key(running: Vmctl, gallery: Gallery) -> None:
    """The guest's host key is not the pinned one any more."""
    known = running.home("tiny") / "known_hosts"
    known.write_text(f"tiny {generate_key_pair('other').public}\n")
    gallery.shows(
        running("ssh", "tiny", "--", "id", status=None),
        "vm_manager::ssh::host_key_mismatch",
        place=None,
        says=("has a different SSH host key than the pinned one", "vmctl console tiny", "and only then, pin that"),
        never=("recreate the VM", "destroy"),
        status=255,
    )
    gallery.fix(running, "echo ")
    gallery.works(running("ssh", "tiny", "--", "id"))


def test_a_command_that_ends_with_255(running: Vmctl, gallery: Gallery) -> None:
    """A command in the guest ends with 255, as OpenSSH itself does when it fails."""
    gallery.shows(
        running("ssh", "tiny", "--", "exit 255", status=None),
        "vm_manager::ssh::failed",
        place=None,
        says=("a new login works", "the command itself exited with 255"),
        status=255,
    )
    gallery.fix(running, "vmctl log")
    gallery.works(running("ssh", "tiny", "--", "exit 0"))


def _says_that_it_is_stopped(running: Vmctl, result: Result, gallery: Gallery) -> None:
    gallery.shows(
        result,
        "vm_manager::ssh::failed",
        place=None,
        says=("the SSH session ended because VM 'tiny' is stopped", "`vmctl start tiny`"),
        never=("DHCP", "no address", "banner"),
        status=255,
    )
    gallery.fix(running, "vmctl start")
    gallery.works(running("ssh", "tiny", "id"))


def test_a_session_whose_vm_is_stopped(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl stop` elsewhere, while `vmctl ssh` is in the guest."""
    session = running.start("ssh", "tiny", "echo in; sleep 600")
    assert session.stdout is not None
    assert session.stdout.readline() == "in\n"
    running("stop", "tiny")
    _says_that_it_is_stopped(running, ended(session), gallery)


def test_a_session_in_which_the_guest_is_switched_off(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh NAME poweroff`"""
    _says_that_it_is_stopped(running, running("ssh", "tiny", "poweroff; sleep 600", status=None), gallery)


def test_a_private_key_that_is_gone(running: Vmctl, gallery: Gallery) -> None:
    """The private key of the VMFile was deleted after the VM came up."""
    key = running.record("tiny")["spec"]["ssh"]["private_key"]
    moved = running.write(Path(key).read_text(), "key")
    moved.chmod(0o600)
    text = (running.directory / "VMFile.kdl").read_text()
    running.write(text.replace(key, "key"))
    running("down")
    running("up")
    moved.rename(running.directory / "elsewhere")
    gallery.shows(
        running("ssh", "tiny", "id", status=None),
        "vm_manager::ssh::no_key",
        place=None,
        says=(f"the private key {moved} does not exist", "put it back"),
        never=("the guest rejected", "accepted this key before"),
    )
    gallery.by_hand("put it back")
    (running.directory / "elsewhere").rename(moved)
    gallery.works(running("ssh", "tiny", "id"))


def test_ssh_while_up_still_waits(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """`vmctl ssh` while the first `vmctl up` waits for a guest that has a host key of its own."""
    vmctl.write(tiny.vm())
    waiting = vmctl.start("up")
    log = vmctl.home("tiny") / "console.log"
    wait_for(lambda: log.exists() and "Linux version" in log.read_text(errors="replace"), "the kernel")
    # It goes no further for now, and the guest does.
    os.kill(waiting.pid, signal.SIGSTOP)
    try:
        gallery.shows(
            vmctl("ssh", "tiny", "id", status=None),
            "vm_manager::ssh::failed",
            place=None,
            says=("`vmctl up` (pid", "is still waiting for VM 'tiny'", "try again when it is ready"),
            never=("REMOTE HOST IDENTIFICATION", "NASTY"),
        )
    finally:
        os.kill(waiting.pid, signal.SIGCONT)
    gallery.by_hand("try again when it is ready")
    assert ended(waiting).status == 0
    gallery.works(vmctl("ssh", "tiny", "id"))


def test_ssh_without_a_name_among_several_vms(vmctl: Vmctl, tiny: TinyGuest, gallery: Gallery) -> None:
    """`vmctl ssh` without a name, and the VMFile defines two VMs."""
    vmctl.write(tiny.vm("web") + tiny.vm("db"))
    gallery.shows(
        vmctl("ssh", status=None),
        "vmctl::usage",
        place=None,
        says=("defines several VMs: say which one", "`vmctl ssh web`", "`vmctl ssh db`"),
    )
    gallery.by_hand("choose one")
    vmctl.write(tiny.vm("web"))
    gallery.works(vmctl("validate"))


def test_ssh_to_a_stopped_vm(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` to a VM that is stopped."""
    running("stop", "tiny")
    gallery.shows(
        running("ssh", "tiny", "--", "id", status=None),
        "vm_manager::vm::invalid_state",
        place=None,
        says=("VM 'tiny' is stopped",),
    )
    gallery.fix(running, "vmctl start")
    gallery.works(running("ssh", "tiny", "--", "id"))


def test_ssh_to_a_suspended_vm(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` to a VM that is suspended."""
    running("suspend", "tiny")
    gallery.shows(
        running("ssh", "tiny", "--", "id", status=None),
        "vm_manager::vm::invalid_state",
        place=None,
        says=("VM 'tiny' is suspended",),
    )
    gallery.fix(running, "vmctl resume")
    gallery.works(running("ssh", "tiny", "--", "id"))
