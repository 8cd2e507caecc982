"""A step whose guest falls silent."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

from hostile_sshd import hostile_sshd
from vm_manager.diagnostics.errors import SshFailed
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Event, Noticed
from vm_manager.domain.spec import Provisioner, ProvisionerKind
from vm_manager.guest import provision
from vm_manager.guest.provision import Provisioning
from vm_manager.guest.ssh import SshSession


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
        run = Provisioning(
            name="web",
            session=session,
            log=tmp_path / "provision.log",
            emit=events.append,
            deadline=Deadline(60),
            require_alive=lambda: None,
            require_shell=lambda: None,
        )
        step = Provisioner(kind=ProvisionerKind.SHELL, inline="ip link set eth0 down; sleep 60")
        with pytest.raises(SshFailed, match="has said nothing for 4 s"):
            run.run([step], [0], lambda index: None)
        ended.set()
    told = [event.text for event in events if isinstance(event, Noticed)]
    assert told == ["the guest has not answered for 1 s; the connection counts as lost after 4 s"]
