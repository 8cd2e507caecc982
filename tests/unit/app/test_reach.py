"""How long a guest is waited for."""

from __future__ import annotations

import pytest

from vm_manager.app.reach import longest_stall_s


@pytest.mark.parametrize(("timeout_s", "expected"), [(None, 300), (60, 300), (1800, 1800)])
def test_a_longer_limit_that_was_demanded_is_also_the_one_for_a_guest_that_stands_still(
    timeout_s: float | None, expected: float
) -> None:
    # The help of a guest that made no progress is to raise `boot-timeout`, which has to help.
    assert longest_stall_s(300, timeout_s) == expected
