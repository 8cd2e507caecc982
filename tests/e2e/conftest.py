"""The Debian cloud guest: booted once for all tests and saved; see tests/conftest.py."""

from __future__ import annotations

import pytest

from driver import Result, Vmctl


@pytest.fixture(scope="session")
def first_up(first_debian: tuple[Vmctl, Result]) -> Result:
    """What the `vmctl up` said that created, booted and provisioned the VM `web`."""
    return first_debian[1]
