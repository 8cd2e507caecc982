"""Waiting as long as something moves."""

from __future__ import annotations

import time

import pytest

from vm_manager.backends.qemu.stall import Stall
from vm_manager.diagnostics.errors import Interrupted, MigrationFailed, QemuJobFailed
from vm_manager.domain.deadline import CancelToken


def test_what_moves_may_take_any_time() -> None:
    stall = Stall(CancelToken(), limit_s=0.5)
    ends = time.monotonic() + 1.5
    figure = 0
    while time.monotonic() < ends:
        stall.look(figure := figure + 1)
        time.sleep(0.01)


def test_what_stands_still_ends_with_the_limit_that_it_has_passed() -> None:
    stall = Stall(CancelToken(), limit_s=0.2)
    stall.look((1, 2))
    stall.look((1, 2))
    time.sleep(0.25)
    with pytest.raises(MigrationFailed) as caught:
        stall.look((1, 2))
    assert str(caught.value.diagnostic.message) == "no progress for 0.2 s"
    assert caught.value.diagnostic.timeout_s == 0.2


def test_cancelled_it_ends_at_once() -> None:
    cancel = CancelToken()
    stall = Stall(cancel)
    stall.look(1)
    cancel.cancel()
    with pytest.raises(Interrupted):
        stall.look(2)


def test_a_job_that_stands_still_fails_as_a_job() -> None:
    stall = Stall(None, limit_s=0.1, failure=QemuJobFailed)
    stall.look(1)
    time.sleep(0.15)
    with pytest.raises(QemuJobFailed):
        stall.look(1)
