"""Provisioning a Debian guest, as a user who is not root"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from driver import Result
from e2e.debian_guest import Debian
from first_screen import Gallery

_FAILED = "vm_manager::provision::failed"


def _shell(command: str) -> str:
    return f'"shell" {{ inline {json.dumps(command)} }}'


@contextmanager
def _sudoers(debian: Debian, line: str) -> Iterator[str]:
    """A last line of the sudoers; a command that takes it away again, as root at the console would."""
    mend = "until test -e /tmp/mend; do sleep 0.2; done; rm /tmp/mend /etc/sudoers.d/99-row; touch /tmp/mended"
    debian.run(f"""rm -f /tmp/mended; sudo sh -c '({mend}) >/dev/null 2>&1 & echo "{line}" >/etc/sudoers.d/99-row'""")
    yield "touch /tmp/mend; until test -e /tmp/mended; do sleep 0.2; done"


def test_sudo_that_demands_a_password(debian: Debian, gallery: Gallery) -> None:
    """The guest's sudo demands a password."""
    with _sudoers(debian, "founder ALL=(ALL) PASSWD: ALL") as mend:
        gallery.shows(
            debian.provision(_shell("sudo -n touch /etc/x"), status=None),
            _FAILED,
            place="VMFile.kdl:14:5",
            says=("exited with 1: sudo in the guest demands a password", "a password is required", "NOPASSWD"),
            never=("fix the step",),
        )
        gallery.by_hand("let the user run sudo without one")
        debian.run(mend)
    gallery.works(debian.vmctl("up"))


def test_a_file_that_sudo_does_not_let_write(debian: Debian, gallery: Gallery) -> None:
    """A file goes where only root may write, and the guest's sudo demands a password."""
    debian.vmctl.write("own", "own")
    with _sudoers(debian, "founder ALL=(ALL) PASSWD: ALL") as mend:
        gallery.shows(
            debian.provision('"file" { source "own"; destination "/etc/own" }', status=None),
            _FAILED,
            place="VMFile.kdl:14:5",
            says=("could not write /etc/own in the guest: sudo in the guest demands a password",),
        )
        gallery.by_hand("let the user run sudo without one")
        debian.run(mend)
    gallery.works(debian.vmctl("up"))


def test_sudo_that_demands_a_terminal(debian: Debian, gallery: Gallery) -> None:
    """The guest's sudo has `requiretty`."""
    with _sudoers(debian, "Defaults requiretty") as mend:
        gallery.shows(
            debian.provision(_shell("sudo touch /etc/x"), status=None),
            _FAILED,
            place="VMFile.kdl:14:5",
            says=("exited with 1: sudo in the guest demands a terminal", "requiretty"),
            never=("fix the step",),
        )
        gallery.by_hand("remove `Defaults requiretty`")
        debian.run(mend)
    gallery.works(debian.vmctl("up"))


def test_a_root_file_system_that_is_read_only(debian: Debian, gallery: Gallery) -> None:
    """The guest's root file system is read-only."""
    debian.run("sudo sh -c 'sync; echo u >/proc/sysrq-trigger'")
    gallery.shows(
        debian.provision(_shell("touch /home/founder/x"), status=None),
        _FAILED,
        place="VMFile.kdl:14:5",
        says=("the guest's root file system is read-only",),
        never=("fix the step",),
    )
    gallery.by_hand("see why in the guest's kernel log")
    debian.run("sudo mount -o remount,rw /")
    gallery.works(debian.vmctl("up"))


_REBOOT_SOON = "(sleep 5; sudo systemctl reboot) >/dev/null 2>&1 &"


# The last one: the guest boots anew.
def test_a_step_that_reboots_the_guest_in_good_order(debian: Debian, gallery: Gallery) -> None:
    """A step reboots the guest, and the next one is to run after that."""
    gallery.shows(
        debian.provision(
            _shell(_REBOOT_SOON), _shell("test -e /var/tmp/once || { touch /var/tmp/once; sleep 900; }"), status=None
        ),
        _FAILED,
        place="VMFile.kdl:15:5",
        says=("the guest rebooted during provisioning step 2", "waits for the guest and continues from step 2"),
        never=("connection was lost:",),
    )
    gallery.works(Result(gallery.fix(debian.vmctl, "vmctl up").returncode, "", ""))
