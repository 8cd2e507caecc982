"""The Debian cloud guest, up once for all tests of this tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import Vmctl
from e2e.debian_guest import CONFIG, Debian


@pytest.fixture(scope="session")
def debian(debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian guest from a VMFile, created, ready and provisioned by one `vmctl up`."""
    base = tmp_path_factory.mktemp("debian")
    project = base / "project"
    project.mkdir()
    (project / "debian-12.qcow2").symlink_to(debian_image)
    vmctl = Vmctl(project, base / "data")
    vmctl.write("answer = 42\n", "site.conf")
    vmctl.write("#!/bin/sh\nset -e\nsudo touch /etc/site/set-up\necho set up by $(id -un)\n", "setup.sh")
    vmctl.write(CONFIG)
    first = vmctl("up")
    yield Debian(vmctl, first)
    vmctl.destroy_all()
