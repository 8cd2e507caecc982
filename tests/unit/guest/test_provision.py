"""A step whose guest falls silent, one that asks a question, and one that is given up."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

from hostile_sshd import hostile_sshd
from vm_manager.diagnostics.errors import Interrupted, SshFailed
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import Event, EventSink, Noticed
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest import provision
from vm_manager.guest.provision import Provisioning, _asks
from vm_manager.guest.ssh import SshSession


def _run(
    session: SshSession, directory: Path, deadline: Deadline, emit: EventSink = lambda event: None
) -> Provisioning:
    return Provisioning(
        name="web",
        session=session,
        log=directory / "provision.log",
        emit=emit,
        deadline=deadline,
        require_alive=lambda: None,
        require_shell=lambda: None,
    )


def test_a_guest_that_falls_silent_under_a_step_is_told_once_before_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, events = threading.Event(), list[Event]()
    monkeypatch.setattr(provision, "_UNANSWERED_S", 1.0)

    def behave(channel: paramiko.Channel) -> None:
        # The thread that would answer whatever it is asked.
        server: Any = channel.get_transport().server_object
        server.check_global_request = lambda kind, message: ended.wait(60)
        ended.wait(60)

    with (
        hostile_sshd(tmp_path, behave) as sshd,
        SshSession.connect(
            sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts, silence_s=4
        ) as session,
    ):
        run = _run(session, tmp_path, Deadline(60), events.append)
        step = Provisioner(kind=ProvisionerKind.SHELL, inline="ip link set eth0 down; sleep 60")
        with pytest.raises(SshFailed, match="has said nothing for 4 s"):
            run.run([step], [0], lambda index: None)
        ended.set()
    told = [event.text for event in events if isinstance(event, Noticed)]
    assert told == ["the guest has not answered for 1 s; the connection counts as lost after 4 s"]


@pytest.mark.parametrize(
    ("script", "said", "status", "asks"),
    [
        ("read answer", "", 1, True),
        ("set -e; read -p 'Sure? ' answer; ls", "", 1, True),
        ("read answer || exit 1", "", 1, True),
        ("./setup", "Password: ", 3, True),
        ("./setup", "Proceed? [y/N]", 1, True),
        ("apt install nginx", "Do you want to continue? [Y/n] Abort.\n", 1, True),
        ("read answer", "", 2, False),
        ("read answer </etc/hostname; false", "", 1, False),
        ("while read line; do false; done <list", "", 1, False),
        ("cat list | while read line; do false; done", "", 1, False),
        ("./setup", "the file is missing:\n", 1, False),
        ("ls readme", "", 1, False),
    ],
)
def test_a_step_that_asks_is_known_by_its_script_and_by_what_it_said_last(
    script: str, said: str, status: int, asks: bool
) -> None:
    assert _asks(script, said, status) is asks


@pytest.mark.parametrize(("server_s", "is_told"), [(0.0, True), (60.0, False)])
def test_a_step_that_is_given_up_is_named_and_may_be_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_s: float, is_told: bool
) -> None:
    monkeypatch.setattr(provision, "_SERVER_S", server_s)
    cancel, ended = CancelToken(), threading.Event()

    def behave(channel: paramiko.Channel) -> None:
        cancel.cancel()
        ended.wait(60)

    with (
        hostile_sshd(tmp_path, behave) as sshd,
        SshSession.connect(
            sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts
        ) as session,
    ):
        run = _run(session, tmp_path, Deadline(60, cancel))
        step = Provisioner(kind=ProvisionerKind.SHELL, inline="./serve", env=(("TOKEN", "hunter2"),))
        with pytest.raises(Interrupted) as caught:
            run.run([step], [0], lambda index: None)
        ended.set()
    diagnostic = caught.value.diagnostic
    assert diagnostic.notes == ("step 1 of VM 'web' was still running: ./serve",)
    assert ("`nohup … &`" in diagnostic.help[0]) is is_told
    assert diagnostic.help[-1] == Interrupted.entry.help
