"""Shared by all tests: a data directory of its own for each, the guest images, and a look for what was left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from driver import BLANK, Result, SavedGuest, Vmctl, blank_disk, build, is_locked, processes_below, qemu_processes
from e2e.debian_guest import STEPS, Debian

# A job in the background of a script starts with SIGINT ignored, and would pass that on to every vmctl it runs.
signal.signal(signal.SIGINT, signal.default_int_handler)


_SECOND_HALF = {
    *("test_accelerator", "test_provisioners", "test_tiny_guest", "test_several_guests", "test_fetched_guests"),
    *("test_confinement", "test_images", "test_isolated_network", "test_guests", "test_console", "test_shares"),
}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the same kind of guest run one after the other: one that was booted once is restored for them.

    Those with the tiny one, which are most, in two halves of about the same length: by module, so that each keeps its order.
    """
    for item in items:
        for image in {"tiny", "debian_image"} & set(getattr(item, "fixturenames", ())):
            half = "-2" if image == "tiny" and item.path.stem in _SECOND_HALF else ""
            item.add_marker(pytest.mark.xdist_group(f"{image}{half}"))


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own VMs or settings."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
    for name in [name for name in os.environ if name.startswith("VMCTL_") and name != "VMCTL_KDL_TEST_CASES"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _no_orphans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the suite no process, socket, network device or lock of its making is left."""
    devices = set(os.listdir("/sys/class/net"))
    yield
    base = tmp_path_factory.getbasetemp()
    assert qemu_processes(base) == []
    ends = time.monotonic() + 30
    while (left := processes_below(base)) and time.monotonic() < ends:
        time.sleep(0.1)  # what ends by itself when its QEMU does
    assert left == []
    assert [line for line in Path("/proc/net/unix").read_text().splitlines() if str(base) in line] == []
    assert set(os.listdir("/sys/class/net")) <= devices
    assert [str(path) for path in base.rglob("*.lock") if is_locked(path)] == []


@dataclass(frozen=True)
class TinyGuest:
    """A small Linux with an SSH server, up in seconds: no cloud-init, user root."""

    image: Path

    @property
    def key(self) -> Path:
        """The private key that opens it."""
        return self.image.with_suffix(".key")

    def vm(self, name: str = "tiny", body: str = "", image: str | None = None) -> str:
        """A vm block."""
        source = image or f'image "{self.image}"'
        access = f'ssh {{ user "root"; private-key "{self.key}"; }}'
        return f'vm "{name}" {{\n    {source}\n    memory 256\n    {access}\n    {body}\n}}\n'


@pytest.fixture(scope="session")
def tiny() -> TinyGuest:
    """The tiny guest's image."""
    return TinyGuest(build("build-tiny"))


@pytest.fixture(scope="session")
def saved_tiny(tiny: TinyGuest, tmp_path_factory: pytest.TempPathFactory) -> SavedGuest:
    """The tiny guest as VM `tiny`, booted once and saved."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("saved-tiny"))
    vmctl.write(tiny.vm())
    vmctl("up")
    return SavedGuest.of(vmctl)


@pytest.fixture(scope="session")
def debian_image() -> Path:
    """The Debian cloud guest's image."""
    return build("build-debian")


@pytest.fixture(scope="session")
def first_debian(debian_image: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Vmctl, Result]:
    """The project that is saved, and what the `vmctl up` said that created, booted and provisioned its VM `web`."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("saved-debian"))
    vmctl.write("answer = 42\n", "site.conf")
    vmctl.write("#!/bin/sh\nset -e\nsudo touch /etc/site/set-up\necho set up by $(id -un)\n", "setup.sh")
    Debian(vmctl, debian_image).define(*STEPS)
    return vmctl, vmctl("up")


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


@pytest.fixture
def vmctl(tmp_path: Path) -> Iterator[Vmctl]:
    """An empty project directory with a data directory of its own; its VMs are gone afterwards."""
    driver = Vmctl.below(tmp_path)
    yield driver
    driver.destroy_all()


@pytest.fixture
def blank(vmctl: Vmctl) -> Vmctl:
    """A project with one VM whose disk is empty."""
    blank_disk(vmctl.directory)
    vmctl.write(BLANK)
    return vmctl


@pytest.fixture
def running(vmctl: Vmctl, saved_tiny: SavedGuest) -> Vmctl:
    """A project with the tiny guest, up."""
    return saved_tiny.restore(vmctl)
