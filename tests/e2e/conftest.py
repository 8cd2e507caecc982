"""The Debian cloud guest: booted once for all tests of this tier and saved; each module gets a restored copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import Result, SavedGuest, Vmctl
from e2e.debian_guest import STEPS, Debian


@pytest.fixture(scope="session")
def first_debian(debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Vmctl, Result]:
    """The project that is saved, and what the `vmctl up` said that created, booted and provisioned its VM `web`."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("saved-debian"))
    vmctl.write("answer = 42\n", "site.conf")
    vmctl.write("#!/bin/sh\nset -e\nsudo touch /etc/site/set-up\necho set up by $(id -un)\n", "setup.sh")
    Debian(vmctl, debian_image).define(*STEPS)
    return vmctl, vmctl("up")


@pytest.fixture(scope="session")
def first_up(first_debian: tuple[Vmctl, Result]) -> Result:
    """What that `vmctl up` said."""
    return first_debian[1]


@pytest.fixture(scope="session")
def saved_debian(first_debian: tuple[Vmctl, Result]) -> SavedGuest:
    """The guest, saved."""
    return SavedGuest.of(first_debian[0])


@pytest.fixture(scope="module")
def debian(saved_debian: SavedGuest, debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """The guest as it was then: nothing is in it of what another module did to its own."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("debian"))
    yield Debian(saved_debian.restore(vmctl), debian_image)
    vmctl.destroy_all()
