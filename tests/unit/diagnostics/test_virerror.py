"""The nine fields of libvirt's virError."""

from __future__ import annotations

import errno

import pytest

from vm_manager.diagnostics.errors import DiskFull, Interrupted, IoFailed, ProvisionFailed, SeedIsoFailed, VmNotFound
from vm_manager.diagnostics.registry import CODES


def test_the_nine_fields_in_libvirts_order() -> None:
    error = SeedIsoFailed("the seed {path} on {host} could not be written", {"path": "/seed.iso", "host": "here"})
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert error.diagnostic.as_virerror() == (
        7,
        "vm_manager::cloudinit",
        "the seed /seed.iso on here could not be written",
        2,
        "the seed {path} on {host} could not be written",
        "/seed.iso",
        "here",
        errno.ENOSPC,
        0,
    )


def test_what_there_is_not_is_none_and_zero() -> None:
    assert VmNotFound("gone").diagnostic.as_virerror() == (
        13, "vm_manager::vm", "gone", 2, "gone", None, None, 0, 0
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        ({}, (None, None)),
        ({"a": "x"}, ("x", None)),
        ({"a": 7, "b": "y"}, ("7", "y")),
        ({"a": "", "b": 0, "c": "z"}, ("", "0")),
    ],
)
def test_the_texts_are_the_first_two_arguments(args: dict[str, str | int], texts: tuple[str | None, ...]) -> None:
    assert VmNotFound("gone", args).diagnostic.as_virerror()[5:7] == texts


def test_a_warning_has_libvirts_level_of_a_warning() -> None:
    assert VmNotFound("gone").as_warning().as_virerror()[3] == 1
    assert VmNotFound("gone").diagnostic.as_virerror()[3] == 2


def test_the_first_number_of_the_operating_system_below_it_counts() -> None:
    error, middle = SeedIsoFailed("not written"), DiskFull("full")
    error.__cause__, middle.__cause__ = middle, OSError(errno.EDQUOT, "Disk quota exceeded")
    assert error.diagnostic.as_virerror()[7] == errno.EDQUOT


@pytest.mark.parametrize(("status", "number"), [(3, 3), (-9, -9), ("3", 0)])
def test_an_exit_status_or_signal_among_the_arguments_is_the_last_field(status: int | str, number: int) -> None:
    assert ProvisionFailed("ended with {status}", {"status": status}).diagnostic.as_virerror()[8] == number


@pytest.mark.parametrize(
    ("code", "domain"), [("vm_manager::io", "vm_manager"), ("vmctl::interrupted", "vmctl")], ids=["io", "interrupted"]
)
def test_a_code_of_two_words_has_a_domain_of_one(code: str, domain: str) -> None:
    error = {leaf.code: leaf("x") for leaf in (IoFailed, Interrupted)}[code]
    assert error.diagnostic.as_virerror()[:2] == (CODES[code].number, domain)
