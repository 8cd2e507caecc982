"""An image, and a server that has it."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Server, serving


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A disk with 3 MiB of noise."""
    directory = tmp_path_factory.mktemp("image")
    raw, path = directory / "disk.raw", directory / "disk.qcow2"
    raw.write_bytes(b"\0" * 1024 * 1024 + random.Random(7).randbytes(3 * 1024 * 1024))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    return Path(path).read_bytes()


@pytest.fixture
def server(image: bytes) -> Iterator[Server]:
    """A server that has the image."""
    with serving(image) as server:
        yield server
