"""What the probe found is remembered for as long as it is true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm_manager.backends.qemu.verdicts import Verdict, key, recall, remember
from vm_manager.host.landlock import landlock_version


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vmctl" / "accelerator.json"


@pytest.mark.usefixtures("cache")
def test_a_verdict_is_remembered_for_what_it_is_about() -> None:
    remember("this", Verdict(True))
    remember("that", Verdict(False, "why", ("a", "b")))
    known = recall("that")
    assert recall("this") == Verdict(True, at=recall("this").at if recall("this") else 0.0)  # type: ignore[union-attr]
    assert known is not None
    assert (known.boots, known.message, known.lines) == (False, "why", ("a", "b"))
    assert recall("another") is None


@pytest.mark.usefixtures("cache")
def test_a_probe_that_was_given_up_counts_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    remember("this", Verdict(False, "gave up", lasts_s=600.0))
    assert recall("this") is not None
    at = recall("this").at  # type: ignore[union-attr]
    for later, known in ((599, True), (601, False), (-5, False)):
        monkeypatch.setattr("time.time", lambda later=later: at + later)
        assert (recall("this") is not None) is known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 3, "verdicts": 5}',
        "[" * 100_000,
        '{"schema": 1, "key": "x"}',
        '{"schema": 3, "verdicts": {"this": {"boots": false, "at": "x", "lasts_s": 600}}}',
        '{"schema": 3, "verdicts": {"this": {"boots": false, "lines": [1]}}}',
        '{"schema": 3, "verdicts": {"this": {}}}',
    ],
)
def test_a_cache_that_cannot_be_read_is_none(cache: Path, text: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert recall("this") is None
    remember("this", Verdict(True))
    assert recall("this") is not None


def test_only_the_newest_are_kept(cache: Path) -> None:
    for number in range(40):
        remember(str(number), Verdict(True))
    assert (recall("7"), recall("8") is not None) == (None, True)
    assert cache.stat().st_size < 10_000


def test_another_qemu_another_processor_another_device_or_another_sandbox_is_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu, device = tmp_path / "qemu", tmp_path / "kvm"
    qemu.write_text("1")
    device.write_text("")
    first = key(qemu, "host", device)
    assert first == key(qemu, "host", device)
    assert first != key(qemu, "EPYC", device)
    with monkeypatch.context() as without:
        without.setenv("VMCTL_SANDBOX", "off")
        assert (first != key(qemu, "host", device)) == (landlock_version() > 0)
    os.utime(qemu, ns=(1, 1))
    second = key(qemu, "host", device)
    device.chmod(0o600)
    device.chmod(0o644)
    assert len({first, second, key(qemu, "host", device)}) == 3
