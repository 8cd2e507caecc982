"""Names of VMs, and the one that was probably meant."""

from __future__ import annotations

import time
from os.path import commonprefix

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def _plain_distance(a: str, b: str) -> int:
    """Every letter against every other."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], rows[i - 2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


_WORDS = st.text("abcA-", max_size=14)


@given(word=_WORDS, candidates=st.lists(_WORDS, max_size=8).map(tuple))
def test_it_is_the_one_that_a_plain_search_finds(word: str, candidates: tuple[str, ...]) -> None:
    def nearness(one: str) -> tuple[int, int]:
        return _plain_distance(word.lower(), one.lower()), -len(commonprefix([word, one]))  # noqa: RUF071 - of characters

    nearest = min(candidates, key=nearness, default=None)
    is_near = nearest is not None and nearness(nearest)[0] <= min(3, len(word) // 3)
    assert closest(word, candidates) == (nearest if is_near else None)


@pytest.mark.parametrize(
    ("word", "candidates"),
    [
        pytest.param("ba" * 28 + "000000", tuple("ab" * 28 + f"{i:06}" for i in range(15_000)), id="nearly alike"),
        pytest.param("9f" * 20, tuple(f"{i * 7919 + 16**39:040x}" for i in range(95_000)), id="of one length"),
        pytest.param("ab" * 64, tuple("ba" * 62 + f"{i:04x}" for i in range(30_000)), id="long ones"),
        pytest.param("abc", tuple("abd" for _ in range(1_000_000)), id="short ones"),
        pytest.param("ab" * 500_000, ("ba" * 500_000,), id="one without end"),
        pytest.param("".join(map(chr, range(127))), ("".join(map(chr, range(127, 0, -1))),) * 30_000, id="all letters"),
    ],
)
def test_no_search_takes_long(word: str, candidates: tuple[str, ...]) -> None:
    started = time.process_time()
    closest(word, candidates)
    assert time.process_time() - started < 0.5
