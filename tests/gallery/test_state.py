"""VMs, their directories and their records"""

from __future__ import annotations

from driver import Vmctl
from first_screen import Gallery


def test_a_record_that_was_cut(blank: Vmctl, gallery: Gallery) -> None:
    """The record of a stopped VM was cut in the middle, by a full disk for example."""
    blank("up")
    blank("down", "--timeout", "0")
    record = blank.home("blank") / "vm.json"
    record.write_bytes(record.read_bytes()[:100])
    gallery.shows(
        blank("up", status=None),
        "vm_manager::state::corrupt",
        place=None,
        says=("is not readable", "restore it as vmctl wrote it last"),
        never=("destroy",),
    )
    gallery.fix(blank, "cp ")
    gallery.works(blank("up"))
