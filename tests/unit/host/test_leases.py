"""What the files of DHCP servers say of a card, and what they cannot make vmctl believe or do."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_manager.host.leases import VARIABLE, read_leases, usable
from within import quickly, within

_MAC, _OTHER = "52:54:00:12:34:56", "52:54:00:65:43:21"
_LATER = 4102444800  # 2100; not by the clock: processes that run tests in parallel have to collect the same ones


def _addresses(path: Path, content: str | bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    monkeypatch.setenv(VARIABLE, str(path))
    return sorted(str(lease.address) for lease in read_leases((_MAC,)).found)


@pytest.mark.parametrize(
    ("content", "addresses"),
    [
        (f"{_LATER} {_MAC} 10.0.0.7 web 01:{_MAC}\n", ["10.0.0.7"]),
        (f"{_LATER} {_MAC.upper()} 10.0.0.7 * *\r\n", ["10.0.0.7"]),
        (f"0 {_MAC} 10.0.0.7 web *", ["10.0.0.7"]),
        (f"1 {_MAC} 10.0.0.7 web *\n", []),
        (f"{_LATER} {_OTHER} 10.0.0.7 web *\n", []),
        # The other one's client-id and name are ours: they do not count.
        (f"{_LATER} {_OTHER} 10.0.0.7 {_MAC} {_MAC}\n", []),
        (f"{_LATER} {_MAC} 10.0.0.7 web *\n{_LATER} {_OTHER} 10.0.0.7 db *\n", []),
        (f"{_LATER} {_OTHER} 10.0.0.7 db *\n{_LATER} {_MAC} 10.0.0.8 web *\n", ["10.0.0.8"]),
        (f"duid 00:01:00\n{_LATER} 1193046 fd00::7 web 00:01\n", []),
        (f"{_LATER} {_MAC} fd00:0::7 web *\n", ["fd00::7"]),
    ],
)
def test_a_lease_of_dnsmasq(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, addresses: list[str]
) -> None:
    assert _addresses(tmp_path / "dnsmasq.leases", content, monkeypatch) == addresses


@pytest.mark.parametrize(
    ("entries", "addresses"),
    [
        ([{"ip-address": "10.0.0.7", "mac-address": _MAC, "expiry-time": _LATER}], ["10.0.0.7"]),
        ([{"ip-address": "10.0.0.7", "mac-address": _OTHER, "expiry-time": _LATER}], []),
        ([{"ip-address": "10.0.0.7", "mac-address": _MAC, "expiry-time": 7}], []),
        ([{"ip-address": "fe80::1%lo", "mac-address": _MAC, "expiry-time": _LATER}], []),
        ([{"ip-address": 7, "mac-address": [_MAC], "expiry-time": _MAC}, _MAC, None], []),
        ({"ip-address": "10.0.0.7", "mac-address": _MAC}, []),
    ],
)
def test_a_lease_of_libvirt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: object, addresses: list[str]
) -> None:
    assert _addresses(tmp_path / "virbr0.status", json.dumps(entries), monkeypatch) == addresses


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "ff02::1",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
        "web",
        "",
    ],
)
def test_an_address_that_leads_nowhere_or_to_many_is_none(text: str) -> None:
    assert usable(text) is None


def test_other_addresses_are() -> None:
    for text in ("10.0.0.7", "192.0.2.1", "fd00::7", "fe80::1"):
        assert usable(text) == ip_address(text)


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 1024,
        f"{_LATER} {_MAC} 10.0.0.7".encode() * 10_000,
        f"{_LATER} {_MAC} ".encode() + b"9" * 100_000,
        f"{'9' * 100_000} {_MAC} 10.0.0.7 * *\n".encode(),
        (f"{_LATER} {_OTHER} 10.0.0.7 * *\n" * 100_000 + _MAC).encode(),
        f"{_MAC}".encode() + b"[" * 100_000,
        b"\xff\xfe" + _MAC.encode(),
    ],
    ids=["zeros", "no lines", "no address", "no time", "many", "brackets", "bytes"],
)
@pytest.mark.parametrize("name", ["dnsmasq.leases", "virbr0.status"])
def test_a_file_that_is_none_has_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, name: str
) -> None:
    with within(10):
        assert _addresses(tmp_path / name, content, monkeypatch) == []


_WORDS = st.sampled_from(
    [
        str(_LATER), "0", _MAC, _OTHER, "10.0.0.7", "fd00::7", "fe80::1%lo", "*", " ", "\n", "\t", "\0", "[", "]", "{", "}", ",",
        '"mac-address": ', '"ip-address": ', '"expiry-time": ', f'"{_MAC}"', '"10.0.0.7"', "1e999", "9" * 30, "-1",
    ]
)  # fmt: skip


@settings(max_examples=int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "300")), deadline=None, database=None)
@given(words=st.lists(_WORDS, max_size=30), name=st.sampled_from(["leases", "x.status"]))
def test_any_file_has_leases_of_this_card_only_or_none(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_text("".join(words))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, str(path))
        found = quickly(lambda: read_leases((_MAC,)))
    assert {lease.mac for lease in found.found} <= {_MAC}
    assert all(usable(str(lease.address)) for lease in found.found)


def test_what_cannot_be_read_is_said_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 1024**3)
    (tmp_path / "directory").mkdir()
    names = ("pipe", "huge", "directory", "missing")
    monkeypatch.setenv(VARIABLE, ":".join(str(tmp_path / name) for name in names))
    with within(10):
        unread = read_leases((_MAC,)).unread
    assert {path.name: why for path, why in unread.items() if path.parent == tmp_path} == {
        "pipe": "not a regular file", "huge": "more than 8 MiB", "directory": "not a regular file",
        "missing": "No such file or directory",
    }  # fmt: skip


def test_several_files_are_named_by_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        (tmp_path / f"{number:02}.leases").write_text(f"0 {_MAC} 10.0.0.{number} * *\n")
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/*.leases:{tmp_path}/none*")
    assert 1 < len(read_leases((_MAC,)).found) <= 64
