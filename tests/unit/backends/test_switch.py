"""The switch of a private network, with sockets as QEMU has them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from vm_manager.backends.qemu.log_keeper import keeper_command
from vm_manager.backends.qemu.switch import SWITCH_SOCKET, Switch

_NETWORK = "../../networks/0123456789ab"
_ALL = b"\xff" * 6


class _Card:
    """What a QEMU has for its card."""

    def __init__(self, vm: str, mac: bytes, *, listens: bool = True) -> None:
        self.mac, self.path = mac, f"{_NETWORK}/{vm}/1"
        os.makedirs(f"{_NETWORK}/{vm}", exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(1)
        if listens:
            self.socket.bind(self.path)

    def send(self, destination: bytes, payload: bytes = b"hello") -> None:
        self.socket.sendto(destination + self.mac + b"\x08\x00" + payload, f"{_NETWORK}/{SWITCH_SOCKET}")

    def heard(self) -> list[bytes]:
        """The payloads that have come."""
        found: list[bytes] = []
        while select.select([self.socket], [], [], 0)[0]:
            found.append(self.socket.recv(70_000)[14:])
        return found


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """In a VM's directory. Closes what it is given."""
    (tmp_path / "networks" / "0123456789ab").mkdir(parents=True)
    (tmp_path / "vms" / "web").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "vms" / "web")
    with ExitStack() as stack:
        yield stack


def _card(cards: ExitStack, vm: str, number: int, *, listens: bool = True) -> _Card:
    card = _Card(vm, bytes((0x52, 0x55, 10, 0, 0, number)), listens=listens)
    cards.enter_context(card.socket)
    return card


def _switch(cards: ExitStack) -> Switch:
    switch = Switch(_NETWORK)
    cards.push(lambda *_: _close(switch))
    switch.take()
    return switch


def _close(switch: Switch) -> None:
    with suppress(OSError):  # the test has done so
        switch.close()


def test_a_frame_for_all_reaches_all_others_and_one_for_a_station_that_one(cards: ExitStack) -> None:
    web, db, mail = (_card(cards, vm, number) for number, vm in enumerate(("switch", "db", "lock")))
    switch = _switch(cards)
    web.send(_ALL, b"who has db?")
    switch.serve()
    assert (web.heard(), db.heard(), mail.heard()) == ([], [b"who has db?"], [b"who has db?"])
    db.send(web.mac, b"I am")
    switch.serve()
    assert (web.heard(), db.heard(), mail.heard()) == ([b"I am"], [], [])
    web.send(db.mac, b"hello")
    switch.serve()
    assert (web.heard(), db.heard(), mail.heard()) == ([], [b"hello"], [])


def test_a_station_that_moves_is_followed(cards: ExitStack) -> None:
    web, db = _card(cards, "web", 1), _card(cards, "db", 2)
    switch = _switch(cards)
    for card in (web, db):
        card.send(_ALL)
        switch.serve()
    again = _card(cards, "new", 2)
    again.send(_ALL)
    switch.serve()
    assert (web.heard(), db.heard()) == ([b"hello"] * 2, [b"hello"] * 2)
    web.send(db.mac, b"to the new one")
    switch.serve()
    assert (db.heard(), again.heard()) == ([], [b"to the new one"])


def test_one_that_has_ended_is_in_nobodys_way_and_is_known_again_when_it_comes_back(cards: ExitStack) -> None:
    web, db = _card(cards, "web", 1), _card(cards, "db", 2)
    switch = _switch(cards)
    db.send(web.mac)
    switch.serve()
    db.socket.close()
    os.unlink(db.path)
    web.send(db.mac, b"lost")
    switch.serve()
    again = _card(cards, "db", 2)
    web.send(db.mac, b"welcome")
    switch.serve()
    assert again.heard() == [b"welcome"]
    again.socket.close()
    os.unlink(again.path)
    once_more = _card(cards, "db", 2)
    web.send(db.mac, b"again")
    switch.serve()
    assert once_more.heard() == [b"again"]
    assert web.heard() == [b"hello"]


def test_a_slow_station_keeps_nobody_waiting_and_gets_what_there_is_room_for(cards: ExitStack) -> None:
    web, db, slow = (_card(cards, vm, number) for number, vm in enumerate(("web", "db", "slow")))
    switch = _switch(cards)
    for card in (db, slow):
        card.send(_ALL)
        switch.serve()
    web.heard()
    for number in range(2000):
        web.send(slow.mac, b"%d" % number)
        switch.serve()
    assert switch.writers
    web.send(db.mac, b"quick")
    switch.serve()
    assert db.heard()[-1:] == [b"quick"]
    got = slow.heard()
    while switch.writers:
        switch.serve()
        got += slow.heard()
    assert got[1:4] == [b"0", b"1", b"2"]
    assert len(got) < 1000


@pytest.mark.parametrize("sender", ["outside", "nameless", "network"])
def test_who_is_not_on_the_network_is_not_heard(cards: ExitStack, sender: str, tmp_path: Path) -> None:
    web = _card(cards, "web", 1)
    switch = _switch(cards)
    stranger = _card(cards, "stranger", 2, listens=False)
    if sender == "outside":
        stranger.socket.bind(str(tmp_path / "outside"))
    elif sender == "network":
        stranger.socket.bind(f"{_NETWORK}/../1")
    stranger.send(_ALL, b"let me in")
    stranger.send(web.mac, b"let me in")
    switch.serve()
    assert web.heard() == []


def test_what_is_no_frame_is_dropped(cards: ExitStack) -> None:
    web, db = _card(cards, "web", 1), _card(cards, "db", 2)
    switch = _switch(cards)
    for junk in (b"", b"\xff", b"\xff" * 13):
        web.socket.sendto(junk, f"{_NETWORK}/{SWITCH_SOCKET}")
    switch.serve()
    assert db.heard() == []


def test_a_guest_that_is_a_million_stations_takes_no_memory_and_no_ones_place(cards: ExitStack) -> None:
    web, db, liar = (_card(cards, vm, number) for number, vm in enumerate(("web", "db", "liar")))
    switch = _switch(cards)
    db.send(_ALL)
    switch.serve()
    for number in range(10_000):
        liar.mac = b"\x52" + number.to_bytes(5, "big")
        liar.send(liar.mac)
        switch.serve()
        for card in (web, db):
            card.heard()
    assert len(switch._stations) <= 4096
    web.send(db.mac, b"still here")
    switch.serve()
    assert db.heard()[-1:] == [b"still here"]


def test_another_one_takes_over_when_the_switch_ends(cards: ExitStack) -> None:
    web, db = _card(cards, "web", 1), _card(cards, "db", 2)
    first, second = _switch(cards), _switch(cards)
    assert (len(first.readers), len(second.readers)) == (1, 0)
    first.close()
    second.take()
    assert len(second.readers) == 1
    web.send(_ALL)
    second.serve()
    assert db.heard() == [b"hello"]
    assert os.stat(f"{_NETWORK}/{SWITCH_SOCKET}").st_mode & 0o777 == 0o600


def test_a_keeper_that_is_the_switch_sleeps_while_nothing_comes(cards: ExitStack, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "3600"]) as machine, (tmp_path / "end").open("wb") as end:
        handle = os.pidfd_open(machine.pid)
        command = keeper_command(handle, end.fileno(), [], [_NETWORK])
        with subprocess.Popen(command, pass_fds=(handle, end.fileno())) as keeper:
            ends = time.monotonic() + 60
            while not Path(_NETWORK, SWITCH_SOCKET).exists() and time.monotonic() < ends:
                time.sleep(0.05)
            time.sleep(1)
            before = _sleeps(keeper.pid)
            time.sleep(4)
            # For its logs, every two seconds.
            assert 1 <= _sleeps(keeper.pid) - before <= 4
            machine.kill()
            assert keeper.wait(60) == 0
        os.close(handle)


def _sleeps(pid: int) -> int:
    """How often a process has gone to sleep. Source: proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
