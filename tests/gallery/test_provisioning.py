"""Provisioning"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from conftest import TinyGuest
from driver import Result, Vmctl
from first_screen import Gallery

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
