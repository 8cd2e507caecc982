"""The clock of a guest that has stood still, as a server that is not to be trusted tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from hostile_sshd import hostile_sshd
from vm_manager.domain.deadline import Deadline
from vm_manager.guest.clock import correct_clock
from vm_manager.guest.ssh import SshSession


def _saying(text: Callable[[], str]) -> Callable[[paramiko.Channel], None]:
    def behave(channel: paramiko.Channel) -> None:
        channel.sendall(text().encode())
        channel.send_exit_status(0)

    return behave


def _told(directory: Path, text: Callable[[], str]) -> str | None:
    with (
        hostile_sshd(directory, _saying(text)) as sshd,
        SshSession.connect(
            sshd.endpoint, alias="web", credentials=sshd.credentials, known_hosts=sshd.known_hosts
        ) as session,
    ):
        return correct_clock("web", session, Deadline(60), lambda: None)


def test_a_clock_that_cannot_be_set_is_told(tmp_path: Path) -> None:
    told = _told(tmp_path, lambda: f"{round(time.time()) - 1000}\n")
    assert told is not None
    assert told.startswith("the guest's clock is 100")
    assert told.endswith("""s behind: `vmctl ssh web sudo date -s "@$(date +%s)"`""")


@pytest.mark.parametrize(
    "text", ["", "what?", "9" * 3000, "-" * 5000], ids=["nothing", "words", "far ahead", "too much"]
)
def test_what_is_no_time_in_the_past_changes_nothing(tmp_path: Path, text: str) -> None:
    assert _told(tmp_path, lambda: text) is None


def test_a_clock_that_is_right_is_left_alone(tmp_path: Path) -> None:
    assert _told(tmp_path, lambda: f"{round(time.time())}\n") is None
