"""A command looks at a VM once."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vm_manager.app.manager import Manager

_opened: Counter[str] | None = None


def _count(event: str, args: tuple[object, ...]) -> None:
    if _opened is None or event != "open" or not isinstance(args[0], str | bytes | os.PathLike):
        return
    reads = not int(str(args[2] or 0)) & (os.O_WRONLY | os.O_RDWR)
    _opened["/".join(os.fsdecode(args[0]).split("/")[-2:])] += reads


sys.addaudithook(_count)  # for good: it cannot be removed


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """What is opened for reading in the block, by directory and name."""
    global _opened
    _opened = Counter()
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture
def vms(tmp_path: Path) -> Manager:
    """A running VM."""
    (tmp_path / "disk").touch()
    (tmp_path / "VMFile.kdl").write_text('vm "web" { image "disk"; }')
    vms = Manager(tmp_path / "data", backend="noop")
    vms.up(vms.load(tmp_path / "VMFile.kdl"))
    return vms


def test_a_running_vm_is_looked_at_once(vms: Manager) -> None:
    with counted() as one_look:
        vms.status("web")
    read = ("web/vm.json", "web/machine", "web/journal.jsonl")
    assert [one_look[name] for name in read] == [1, 1, 1]
    for act in (vms.suspend, vms.resume, vms.stop):
        with counted() as opened:
            assert [outcome.error for outcome in act(["web"])] == [None]
        assert [opened[name] for name in read] == [1, 1, 1]
        assert opened["web/vm.json.bak"] == 0
