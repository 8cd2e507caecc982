"""Records that no vmctl wrote: every command says what is wrong, at once, and removes nothing.

VMCTL_FUZZ_DOCUMENTS says how many records are tried; `make fuzz` tries 10,000. None may take more than two seconds.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vm_manager.app.manager import Manager
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.needs import read_needs
from vm_manager.diagnostics.errors import StateCorrupt, VmError
from vm_manager.domain.outcome import Outcome
from vm_manager.images.cache import ImageCache
from within import quickly

_RECORDS = int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "2000")) // 2
_SECTION = {"uuid": "00000000-0000-4000-8000-000000000000", "mac": "52:54:00:00:00:01", "ssh_port": 2222, "version": 1}

_VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**64, 10**400, 1.5, "", "a", "\0", "../../etc", "\ud800", "é" * 5000, [], {}, [[]]),
    *({"a": {"a": {}}}, ["x"] * 500, "2026-13-45", "1e999", "KVM", "tcg", "qemu", "noop", "xen", "/dev/zero", "/"),
]


def _home(root: Path, backend: str) -> Path:
    """A data directory with one stopped VM of a backend, whose image is gone: no QEMU is ever started."""
    image = root / "disk.img"
    image.write_bytes(b"\0" * 512)
    (root / "VMFile.kdl").write_text('vm "web" { image "disk.img"; accel "tcg"; }\n')
    vms = Manager(root / "vmctl", backend="noop")
    vms.up(vms.load(root / "VMFile.kdl"))
    vms.stop(["web"])
    image.unlink()
    home = root / "vmctl" / "vms" / "web"
    plain = json.loads((home / "vm.json").read_text())
    plain |= {"backend": backend, "backend_data": _SECTION}
    (home / "vm.json").write_text(json.dumps(plain))
    shutil.copyfile(home / "vm.json", home / "vm.json.bak")
    return home


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in pairs for found in ((*path, key), *_paths(inner, (*path, key)))]


def _mutated(whole: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:  # bytes
        at = chance.randrange(len(whole))
        return whole[:at] + chance.randbytes(chance.randrange(4)) + whole[at + chance.randrange(9) :]
    if kind == 1 and chance.random() < 0.2:
        return chance.choice(
            [whole[: chance.randrange(len(whole))], b"[" * 100_000, b"\xff" * 999, b"7", b'{"a":' * 9999]
        )
    document = json.loads(whole)
    for _ in range(chance.randrange(1, 4)):
        *parents, last = chance.choice(_paths(document))
        place = document
        for key in parents:
            place = place[key]
        if chance.random() < 0.25:
            del place[last]
            continue
        place[last] = copy.deepcopy(chance.choice(_VALUES))  # the next change may be within it
        if not _paths(document):
            break
    return json.dumps(document).encode()


def _in_time(command: Callable[[], object]) -> list[VmError]:
    """Run a command; the failures that it ends with. Whatever else it raises is a bug."""
    try:
        result = quickly(command)
    except VmError as error:
        return [error]
    outcomes = result if isinstance(result, tuple) else ()
    return [outcome.error for outcome in outcomes if isinstance(outcome, Outcome) and outcome.error]


@pytest.mark.parametrize("backend", ["noop", "qemu"])
def test_any_damage_to_a_record_is_told_and_nothing_is_removed(tmp_path: Path, backend: str) -> None:
    home, chance = _home(tmp_path, backend), random.Random(14)
    record, disk = home / "vm.json", home / "overlay.qcow2"
    disk.write_bytes(b"the disk")
    whole, vms = record.read_bytes(), Manager(tmp_path / "vmctl", backend="noop")
    for _ in range(_RECORDS):
        damaged = _mutated(whole, chance)
        record.write_bytes(damaged)
        for command in (
            lambda: vms.names(),
            lambda: vms.status("web"),
            lambda: vms.stop(["web"]),
            lambda: vms.start(["web"]),
        ):
            for error in _in_time(command):
                assert error.code != "vmctl::bug"
                assert not any("destroy" in line for line in error.diagnostic.help), damaged
        assert disk.read_bytes() == b"the disk"
        for name in ("machine", "journal.jsonl"):
            (home / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "section",
    [
        {},
        {**_SECTION, "uuid": "x,hda=/etc/passwd"},
        {**_SECTION, "mac": "52:54:00:00:00:01,x=y"},
        {**_SECTION, "ssh_port": 70000},
        {**_SECTION, "argv": "ls"},
        {**_SECTION, "accelerator": "xen"},
        {**_SECTION, "version": 2},
    ],
    ids=lambda section: ",".join(sorted(section)),
)
def test_a_damaged_section_of_the_backend_is_a_damaged_record(tmp_path: Path, section: dict[str, object]) -> None:
    home, vms = _home(tmp_path, "qemu"), Manager(tmp_path / "vmctl")
    plain = json.loads((home / "vm.json").read_text())
    (home / "vm.json").write_text(json.dumps({**plain, "backend_data": section}))
    with pytest.raises(StateCorrupt) as caught:
        vms.status("web")
    assert "backend_data" in str(caught.value.diagnostic.causes)
    assert [outcome.error for outcome in vms.stop(["web"])] == [None]
    (outcome,) = vms.start(["web"])
    assert outcome.error
    assert outcome.error.code == StateCorrupt.code


_HOSTILE = {
    "empty": b"",
    "huge": b'{"time": "' + b"a" * 9_000_000 + b'"}\n',
    "nested": b"[" * 200_000 + b"\n",
    "deep": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "no UTF-8": b'{"operation": "start", "outcome": "failed", "message": "\xff\xfe"}\n' * 100,
    "many lines": b'{"operation": [], "outcome": {}}\n' * 200_000,
    "wrong types": b'{"operation": "start", "outcome": "failed", "help": 7, "evidence": [[], {"lines": {}}]}\n',
    "another document": b'[1, null, "x"]\n',
    "NULs": b"\0" * 500_000,
    "large numbers": b'{"size_bytes": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in _HOSTILE.items()])
def test_a_journal_of_any_form_keeps_nobody_from_looking(tmp_path: Path, content: bytes) -> None:
    home, vms = _home(tmp_path, "noop"), Manager(tmp_path / "vmctl")
    (home / "journal.jsonl").write_bytes(content)
    assert _in_time(lambda: vms.status("web")) == []
    _in_time(lambda: vms.start(["web"]))


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in _HOSTILE.items()])
def test_what_a_saved_state_needs_is_read_or_damaged(tmp_path: Path, content: bytes) -> None:
    files = QemuFiles(tmp_path)
    files.saved_state_needs.write_bytes(content)
    (error,) = _in_time(lambda: read_needs(files))
    assert error.code == StateCorrupt.code


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in _HOSTILE.items()])
def test_metadata_of_the_image_cache_counts_or_does_not(tmp_path: Path, content: bytes) -> None:
    for kind in ("by-url", "by-digest"):
        (tmp_path / kind / "sha256-00").mkdir(parents=True)
        (tmp_path / kind / "sha256-00" / "meta.json").write_bytes(content)
    assert _in_time(lambda: ImageCache(tmp_path).images()) == []
