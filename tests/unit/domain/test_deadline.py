"""Waiting, and how it ends."""

from __future__ import annotations

import threading
import time

import pytest

from vm_manager.diagnostics.errors import Interrupted
from vm_manager.domain.deadline import CancelToken, Deadline


def test_cancelling_wakes_a_thread_that_waits() -> None:
    token, waiting, ended = CancelToken(), threading.Event(), []

    def work() -> None:
        waiting.set()
        try:
            Deadline(None, token).pause(3600)
        except Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert waiting.wait(10)
    token.cancel()
    thread.join(10)
    assert not thread.is_alive()
    assert [error.exit_code for error in ended] == [130]


def test_a_wait_that_begins_after_cancelling_ends_at_once() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Interrupted):
        token.wait(3600)


def test_asking_whether_it_is_over_raises_when_cancelled() -> None:
    token = CancelToken()
    deadline = Deadline(3600, token)
    assert not deadline.expired
    token.cancel()
    with pytest.raises(Interrupted):
        _ = deadline.expired


def test_cancelling_one_deadline_ends_all_that_share_its_token() -> None:
    first = Deadline(3600)
    second = Deadline(3600, first.cancel)
    second.cancel.cancel()
    with pytest.raises(Interrupted):
        first.pause(3600)


def test_a_deadline_passes() -> None:
    deadline = Deadline(0.0)
    assert deadline.expired
    assert deadline.remaining_s == 0.0
    assert deadline.within(10) == 0.0


def test_a_pause_does_not_go_beyond_the_deadline() -> None:
    started = time.monotonic()
    Deadline(0.01).pause(3600)
    assert time.monotonic() - started < 60


def test_without_a_limit_it_never_passes() -> None:
    deadline = Deadline(None)
    assert not deadline.expired
    assert deadline.remaining_s == float("inf")
    assert deadline.within(5) == 5


def test_a_negative_wait_is_none() -> None:
    CancelToken().wait(-1)
