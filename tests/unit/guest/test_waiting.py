"""Waiting for a guest whose port answers now and then, as under load."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, repeat
from pathlib import Path
from typing import cast

import pytest

from hostile_sshd import hostile_sshd, listening
from vm_manager.diagnostics.errors import AuthFailed, BootFailed, BootTimeout, IpDiscoveryTimeout, VmError
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import Event, PhaseReached
from vm_manager.domain.instance import Endpoint, Execution, Observation, Vitals, VmState
from vm_manager.domain.machine import Machine
from vm_manager.guest.boot import Guest, wait_until_ready
from vm_manager.guest.credentials import Credentials


@dataclass
class _Machine:
    """As much of a machine as is looked at. idle: whether its vCPUs have nothing to do.

    address: of one that is on a bridge, at each look; None there: it is not known.
    """

    endpoint: Endpoint | None
    idle: bool = True
    resets: Iterator[int] = field(default_factory=lambda: repeat(0))
    reads: Iterator[int] = field(default_factory=lambda: repeat(0))

    addresses: Iterator[Endpoint | None] | None = None

    def observe(self) -> Observation:
        endpoint = next(self.addresses) if self.addresses else self.endpoint
        return Observation(VmState.RUNNING, alive=True, ssh=endpoint)

    def locate(self) -> tuple[Endpoint | None, tuple[Evidence, ...]]:
        return self.endpoint, (Evidence("probe", "where it was looked for", ("leases: none",)),)

    def require_alive(self) -> None:
        pass

    def vitals(self) -> Vitals:
        return Vitals(next(self.reads), next(self.resets))

    def execution(self) -> Execution:
        return Execution((0,), True, self.idle)

    def screen(self) -> tuple[str, ...]:
        return ()


def _waited(
    machine: _Machine, directory: Path, timeout_s: float, console: str = "", keys: tuple[Path, ...] = ()
) -> tuple[VmError, list[str]]:
    """Why the wait has ended, and the phases that were told."""
    events: list[Event] = []
    log = directory / "console.log"
    log.write_text(console)
    guest = Guest(
        name="web",
        machine=cast("Machine", machine),
        credentials=Credentials("root", keys, agent=False),
        known_hosts=directory / "known_hosts",
        console_log=log,
        cloud_init=None,
        host_key_verified=True,
        stall_limit_s=600,
        own_address=machine.addresses is not None,
    )
    with pytest.raises(VmError) as caught:
        wait_until_ready(guest, Deadline(timeout_s, CancelToken()), events.append)
    return caught.value, [event.phase for event in events if isinstance(event, PhaseReached)]


def _answers(*silent: bool) -> Iterator[bool]:
    return chain(silent, repeat(False))


@pytest.mark.parametrize(("resets", "phases"), [((0,), 1), ((0, 0, 0, 1), 2)])
def test_a_guest_that_is_busy_has_not_gone_back_but_one_that_restarts_has(
    tmp_path: Path, resets: tuple[int, ...], phases: int
) -> None:
    silent = _answers(*(False, False, True, False) * 2)
    held: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        if next(silent):
            held.append(connection)
        else:
            connection.close()

    with listening(answer) as endpoint:
        machine = _Machine(endpoint, resets=chain(resets, repeat(resets[-1])))
        error, told = _waited(machine, tmp_path, 12)
    assert isinstance(error, BootTimeout)
    assert told.count("network up") <= phases
    assert told[:2] == ["booting", "network up"]


_PROMPT = "[    0.0] Linux version 6.1\r\nweb login: "


def test_an_idle_guest_at_its_login_prompt_whose_port_is_closed_is_not_waited_for(tmp_path: Path) -> None:
    with listening(lambda connection: connection.close()) as endpoint:
        error, _ = _waited(_Machine(endpoint), tmp_path, 300, _PROMPT)
    assert isinstance(error, BootFailed)
    assert "nothing listens on its SSH port" in str(error)


def test_a_guest_that_is_at_work_behind_its_login_prompt_is_waited_for(tmp_path: Path) -> None:
    """It makes the keys of its sshd, say."""
    with listening(lambda connection: connection.close()) as endpoint:
        error, _ = _waited(_Machine(endpoint, idle=False), tmp_path, 30, _PROMPT)
    assert isinstance(error, BootTimeout)


# On a bridge

_UP = "[    0.0] Linux version 6.1\r\nWelcome to Debian GNU/Linux\r\n"


@pytest.mark.parametrize(
    ("console", "timeout_s", "why"),
    [(_UP, 3, "was not ready in 3 s"), (f"{_UP}{_PROMPT}", 300, "booted")],
    ids=["slow", "at its login prompt"],
)
def test_a_guest_that_is_up_and_whose_address_nobody_knows(
    tmp_path: Path, console: str, timeout_s: float, why: str
) -> None:
    error, told = _waited(_Machine(None, addresses=repeat(None)), tmp_path, timeout_s, console)
    assert isinstance(error, IpDiscoveryTimeout)
    assert str(error) == f"the guest {why}, but its address is not known"
    assert [shown.lines for shown in error.diagnostic.evidence] == [("leases: none",)]
    assert told[-1] == "no address yet"


def test_a_guest_that_has_not_started_its_system_is_not_said_to_lack_an_address_only(tmp_path: Path) -> None:
    error, told = _waited(_Machine(None, addresses=repeat(None)), tmp_path, 3, "[    0.000000] Command line: quiet\r\n")
    assert isinstance(error, BootTimeout)
    assert ("leases: none",) in [shown.lines for shown in error.diagnostic.evidence]
    assert "there was no address to connect to" in str(error.diagnostic.evidence)
    assert told == ["booting", "kernel started"]


def test_an_address_that_comes_later_or_changes_is_taken_at_once(tmp_path: Path) -> None:
    with listening(lambda connection: connection.close()) as first, listening(lambda connection: None) as second:
        addresses = chain((None, None, first, first), repeat(second))
        error, told = _waited(_Machine(None, addresses=addresses), tmp_path, 8, _UP)
    assert isinstance(error, BootTimeout)
    assert told == ["booting", "no address yet", "network up"]


_FINISHED = (
    "[    0.0] Linux version 6.1\r\n[ 9.0] cloud-init[420]: Cloud-init v. 22.4.2 finished at Mon. Datasource x\r\n"
)


@pytest.mark.parametrize(("methods", "console"), [("publickey,password", _FINISHED), ("password", "")])
def test_a_key_that_nothing_will_let_in_any_more_is_refused_for_good(
    tmp_path: Path, methods: str, console: str
) -> None:
    """Whatever else the guest is at work on."""
    with hostile_sshd(tmp_path, lambda channel: None, methods=methods) as sshd:
        machine = _Machine(sshd.endpoint, idle=False, reads=count())
        error, told = _waited(machine, tmp_path, 30, console, sshd.credentials.keys)
    assert isinstance(error, AuthFailed)
    assert told[-1] == "sshd up"


def test_a_key_that_cloud_init_may_yet_install_is_tried_again(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, lambda channel: None, methods="publickey,password") as sshd:
        machine = _Machine(sshd.endpoint, idle=False, reads=count())
        error, _ = _waited(machine, tmp_path, 20, _FINISHED.replace("finished", "running"), sshd.credentials.keys)
    assert isinstance(error, BootTimeout)
    assert error.diagnostic.evidence[0].lines == ("the guest rejected the key of user 'root'",)


def test_a_key_that_an_idle_guest_refuses_is_refused_for_good(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, lambda channel: None, methods="publickey,password") as sshd:
        error, _ = _waited(_Machine(sshd.endpoint), tmp_path, 300, _PROMPT, sshd.credentials.keys)
    assert isinstance(error, AuthFailed)
