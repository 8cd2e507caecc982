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


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration is this test's."""
    directory = tmp_path / "docker"
    directory.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    for name in (
        "GITHUB_TOKEN",
        "GITHUB_ACTOR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return directory
