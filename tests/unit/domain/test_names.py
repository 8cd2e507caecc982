"""Names of VMs, and the one that was probably meant."""

from __future__ import annotations

import pytest

from vm_manager.domain.names import closest, is_vm_name


@pytest.mark.parametrize("name", ["a", "7", "web", "web-1", "A-b-C", "1a", "a" * 63, "xn--bcher-kva"])
def test_a_host_name_label_is_a_name(name: str) -> None:
    assert is_vm_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-a",
        "a-",
        "a.b",
        "a_b",
        "a b",
        "a\n",
        "a\0",
        "é",
        "٣",
        "a" * 64,
        "web\u200b",
        ".x",
    ],
)
def test_anything_else_is_none(name: str) -> None:
    assert not is_vm_name(name)


@pytest.mark.parametrize(
    ("word", "candidates", "meant"),
    [
        ("wbe", ("web", "db"), "web"),  # two characters changed places
        ("vcpu", ("vcpus", "memory"), "vcpus"),
        ("vcpusss", ("vcpus", "memory"), "vcpus"),
        ("MEMORY", ("vcpus", "memory"), "memory"),
        ("imageurl", ("image", "image-url"), "image-url"),
        ("cloudinti", ("cloud-init",), "cloud-init"),
        ("web", ("web",), "web"),
    ],
)
def test_a_slip_of_the_fingers_is_understood(word: str, candidates: tuple[str, ...], meant: str) -> None:
    assert closest(word, candidates) == meant


@pytest.mark.parametrize(
    ("word", "candidates"),
    [
        ("web", ()),
        ("web", ("database",)),
        ("cpus", ("vcpus-and-more",)),
        ("abcdef", ("uvwxyz",)),
        ("mail", ("main-db",)),
    ],
)
def test_what_is_too_far_away_is_not_suggested(word: str, candidates: tuple[str, ...]) -> None:
    assert closest(word, candidates) is None


def test_the_nearest_of_several_wins() -> None:
    assert closest("provisoin", ("provision", "provisions", "division")) == "provision"


def test_of_two_that_are_equally_near_the_one_that_begins_alike_is_meant() -> None:
    assert closest("vcpu", ("cpu", "vcpus")) == "vcpus"
