"""Instances on disk: made completely or not at all, read by anybody at any time."""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.samples import full_spec, record, spec
from vm_manager.diagnostics.errors import IoFailed, StateCorrupt, VmNotFound
from vm_manager.diagnostics.spans import Span
from vm_manager.domain.instance import RECORD_SCHEMA, InstanceRecord, Progress, VmState
from vm_manager.domain.network import Network
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore


@pytest.fixture
def store(tmp_path: Path) -> InstanceStore:
    return InstanceStore(DataDir(tmp_path / "vmctl"))


def _make(store: InstanceStore, made: InstanceRecord) -> InstanceRecord:
    with store.creating(made.name) as staging:
        store.write_new(made, staging)
    return made


def _everything(store: InstanceStore) -> list[str]:
    return sorted(path.name for path in store.data.vms.iterdir())


def test_there_are_no_vms_before_the_first_one(store: InstanceStore) -> None:
    assert store.names() == ()
    assert not store.data.root.exists()


def test_a_vm_that_is_made_and_removed_all_the_time_is_never_another_programs(store: InstanceStore) -> None:
    made, over = record(spec()), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            _make(store, made)
            store.remove(made.name)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(come_and_go)
        try:
            for _ in range(20_000):
                assert store.exists(made.name) in (True, False)
                assert store.foreign() == ()
        finally:
            over.set()
        working.result()


def test_a_record_is_read_as_it_was_written(store: InstanceStore) -> None:
    wanted = full_spec()
    steps = tuple(replace(step, span=Span(7, 9)) for step in wanted.provisioners)
    made = record(
        replace(wanted, provisioners=steps, span=Span(3, 30)),
        progress=Progress(started=True, ready=True, host_key_verified=True, done=("a", "b")),
        backend_data={"version": 1, "argv": ["a", "b"], "port": 5},
    )
    read = store.read(_make(store, made).name)
    assert read == made
    # Spans take no part in the comparison.
    assert read.spec.span == Span(3, 30)
    assert [step.span for step in read.spec.provisioners] == [Span(7, 9), Span(7, 9)]


def test_writing_replaces_the_record(store: InstanceStore) -> None:
    made = _make(store, record())
    store.write(replace(made, progress=Progress(started=True)))
    assert store.read("web").progress.started


def test_names_are_sorted_and_leave_out_what_is_being_made_or_removed(store: InstanceStore) -> None:
    for name in ("web", "db", "a-1"):
        _make(store, record(spec(name)))
    store.data.staging("new").mkdir()
    store.data.leaving("old").mkdir()
    assert store.names() == ("a-1", "db", "web")


def test_a_stray_file_is_no_vm(store: InstanceStore) -> None:
    _make(store, record())
    (store.data.vms / "README").touch()
    assert store.names() == ("web",)


# Making and removing


def test_an_instance_appears_only_when_it_is_complete(store: InstanceStore) -> None:
    with store.creating("web") as staging:
        (staging / "overlay.qcow2").write_bytes(b"disk")
        assert store.names() == ()
        assert not store.exists("web")
        store.write_new(record(), staging)
    assert store.exists("web")
    assert store.files("web").overlay.read_bytes() == b"disk"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()], ids=["a bug", "Ctrl-C"])
def test_an_exception_leaves_nothing(store: InstanceStore, error: BaseException) -> None:
    def fail(staging: Path) -> None:
        (staging / "overlay.qcow2").touch()
        raise error

    with pytest.raises(type(error)), store.creating("web") as staging:
        fail(staging)
    assert _everything(store) == []


def test_what_a_crash_left_behind_is_cleared_away(store: InstanceStore) -> None:
    left = store.data.staging("web")
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "overlay.qcow2").touch()
    with store.creating("web") as staging:
        assert list(staging.iterdir()) == []
        store.write_new(record(), staging)
    assert _everything(store) == ["web"]


def test_an_instance_is_not_made_over_another_one(store: InstanceStore) -> None:
    made = _make(store, record())
    with pytest.raises(IoFailed), store.creating("web") as staging:
        store.write_new(replace(made, instance_id="another"), staging)
    assert store.read("web") == made
    assert _everything(store) == ["web"]


def test_removing_leaves_nothing_and_may_be_repeated(store: InstanceStore) -> None:
    _make(store, record())
    (store.files("web").home / "drives").mkdir()
    for _ in range(2):
        store.remove("web")
        assert _everything(store) == []


def test_what_an_interrupted_removal_left_behind_goes_with_the_next_one(store: InstanceStore) -> None:
    _make(store, record())
    store.data.leaving("web").mkdir()
    (store.data.leaving("web") / "overlay.qcow2").touch()
    store.remove("web")
    assert _everything(store) == []


def test_only_the_named_vm_is_removed(store: InstanceStore) -> None:
    for name in ("web", "web-1"):
        _make(store, record(spec(name)))
    store.remove("web")
    assert store.names() == ("web-1",)


# What cannot be read


def test_an_unknown_name_is_not_found_with_the_one_that_was_meant(store: InstanceStore) -> None:
    _make(store, record())
    with pytest.raises(VmNotFound) as caught:
        store.read("wbe")
    assert caught.value.diagnostic.help[0] == "did you mean 'web'?"
    assert caught.value.diagnostic.subject.vm == "wbe"


@pytest.mark.parametrize("name", ["../web", "", ".", "web/..", "/etc", ".preparing-web"])
def test_a_name_that_is_a_path_is_not_found(store: InstanceStore, name: str) -> None:
    _make(store, record())
    store.data.staging("web").mkdir()
    for use in (store.read, lambda name: store.lock(name, "test")):
        with pytest.raises(VmNotFound):
            use(name)


def _damaged(whole: dict[str, object]) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(whole)
    yield "empty", b""
    yield "truncated", text[: len(text) // 2].encode()
    yield "another document", b"[1, 2]"
    yield "no UTF-8", text.encode().replace(b"web", b"\xff\xfe")
    yield "NULs, as after a power cut", b"\0" * len(text)
    yield "a field of the wrong type", json.dumps({**whole, "spec": 7}).encode()
    yield "a field is missing", json.dumps({key: whole[key] for key in whole if key != "spec"}).encode()
    yield "a NUL in a path", json.dumps({**whole, "origin": "/a\0b"}).encode()
    yield "a newer schema", json.dumps({**whole, "schema": RECORD_SCHEMA + 1}).encode()


_WHOLE: dict[str, object] = {
    "name": "web",
    "origin": "/VMFile.kdl",
    "instance_id": "1",
    "created_at": "2026",
    "spec": {"name": "web", "image": {"path": "/base"}},
    "base_image": {"path": "/base", "size_bytes": 1, "mtime_ns": 1},
    "backend": "noop",
}


def test_the_least_record_is_readable(store: InstanceStore) -> None:
    _make(store, record())
    store.files("web").record.write_text(json.dumps(_WHOLE))
    assert store.read("web").spec.vcpus == 1


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in _damaged(_WHOLE)])
def test_a_damaged_record_is_corrupt_and_hides_no_other(store: InstanceStore, content: bytes) -> None:
    for name in ("web", "db"):
        _make(store, record(spec(name)))
    store.files("web").record.write_bytes(content)
    with pytest.raises(StateCorrupt) as caught:
        store.read("web")
    diagnostic = caught.value.diagnostic
    assert diagnostic.subject.vm == "web"
    assert str(store.files("web").record) in diagnostic.message
    assert not any("destroy" in line for line in diagnostic.help)
    assert store.read("db").name == "db"
    assert store.names() == ("db", "web")


def test_a_backslash_before_u0000_is_text(store: InstanceStore) -> None:
    made = _make(store, replace(record(), origin="/a\\u0000"))
    assert store.read("web") == made


def test_a_missing_record_is_corrupt(store: InstanceStore) -> None:
    _make(store, record())
    store.files("web").record.unlink()
    with pytest.raises(StateCorrupt) as caught:
        store.read("web")
    assert "missing" in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 3000, None], ids=["empty", "cut off", "NULs", "missing"])
def test_a_damaged_record_is_restored_by_the_command_in_the_help(store: InstanceStore, damage: bytes | None) -> None:
    made = replace(_make(store, record()), progress=Progress(started=True))
    store.write(made)
    path = store.files("web").record
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(StateCorrupt) as caught:
        store.read("web")
    (restore,) = caught.value.diagnostic.help
    subprocess.run(shlex.split(restore.partition("`")[2].partition("`")[0]), check=True)
    assert store.read("web") == made


def test_a_backup_that_is_damaged_too_is_not_offered(store: InstanceStore) -> None:
    _make(store, record())
    for path in (store.files("web").record, store.files("web").record_backup):
        path.write_bytes(b"{")
    with pytest.raises(StateCorrupt) as caught:
        store.read("web")
    assert not any("`cp " in line or "destroy" in line for line in caught.value.diagnostic.help)


def test_a_record_of_any_size_is_given_up_early(store: InstanceStore) -> None:
    _make(store, record())
    with store.files("web").record.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(StateCorrupt):
        store.read("web")


def test_a_record_with_an_impossible_span_is_corrupt(store: InstanceStore) -> None:
    _make(store, record())
    damaged = {**_WHOLE, "spec": {"name": "web", "image": {}, "span": {"start": 5, "end": 2}}}
    store.files("web").record.write_text(json.dumps(damaged))
    with pytest.raises(StateCorrupt):
        store.read("web")


def test_a_newer_record_of_another_form_is_said_to_be_newer(store: InstanceStore) -> None:
    _make(store, record())
    store.files("web").record.write_text(json.dumps({"schema": RECORD_SCHEMA + 1, "spec": {"vm": "web"}}))
    with pytest.raises(StateCorrupt, match="newer vmctl"):
        store.read("web")


def test_a_corrupt_vm_can_be_removed(store: InstanceStore) -> None:
    _make(store, record())
    store.files("web").record.write_bytes(b"")
    store.remove("web")
    assert store.names() == ()


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_a_record_is_noticed_or_harmless(store: InstanceStore, data: st.DataObject) -> None:
    path = store.files("web").record
    if not store.exists("web"):
        _make(store, record(full_spec()))
        path.with_name("whole").write_bytes(path.read_bytes())
    content = path.with_name("whole").read_bytes()
    at = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:at] + data.draw(st.binary(max_size=3)) + content[at + data.draw(st.integers(0, 9)) :])
    noticed = ""
    try:
        store.read("web")
    except StateCorrupt as error:
        noticed = str(error)
    assert not noticed or str(path) in noticed


def test_a_record_that_is_nested_without_end_is_corrupt(store: InstanceStore) -> None:
    _make(store, record())
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    store.files("web").record.write_text(json.dumps(_WHOLE)[:-1] + f', "backend_data": {deep}}}')
    with pytest.raises(StateCorrupt):
        store.read("web")


def test_a_record_of_another_vm_is_corrupt(store: InstanceStore) -> None:
    _make(store, record())
    shutil.copytree(store.data.home("web"), store.data.home("copy"))
    with pytest.raises(StateCorrupt):
        store.read("copy")


# What killed commands leave behind


def test_what_is_being_made_or_removed_is_no_instance(store: InstanceStore) -> None:
    _make(store, record())
    home, staging = store.data.home("web"), store.data.staging("web")
    home.rename(staging)
    assert store.names() == ()
    assert store.leftovers() == ("web",)
    assert store.read_leftovers("web")[1:] == (staging, VmState.FAILED)
    with store.lock("web", "vmctl test"):
        assert store.read_leftovers("web")[2] is VmState.PREPARING
    staging.rename(store.data.leaving("web"))
    assert store.read_leftovers("web")[2] is VmState.DESTROYED


def test_rests_beside_an_instance_are_nobodys_business(store: InstanceStore) -> None:
    _make(store, record())
    store.data.staging("web").mkdir()
    assert (store.names(), store.leftovers()) == (("web",), ())


def test_healing_removes_rests_and_temporary_files_and_says_so_once(store: InstanceStore) -> None:
    _make(store, record())
    store.data.staging("web").mkdir()
    store.data.leaving("web").mkdir()
    (store.data.home("web") / ".vm.json.123.tmp").touch()
    assert len(tuple(store.heal("web"))) == 2
    assert tuple(store.heal("web")) == ()
    assert [path.name for path in store.data.vms.rglob(".*")] == []
    assert store.read("web").name == "web"


def test_a_replaced_instance_is_the_new_one_and_the_old_is_gone(store: InstanceStore) -> None:
    _make(store, record())
    with store.creating("web", replacing=True) as staging:
        store.write_new(record(spec("web", vcpus=4)), staging)
        assert store.read("web").spec.vcpus == 1
    assert store.read("web").spec.vcpus == 4
    assert [path.name for path in store.data.vms.iterdir()] == ["web"]


def test_a_replacement_that_fails_leaves_the_old_one(store: InstanceStore) -> None:
    _make(store, record())
    with pytest.raises(ZeroDivisionError), store.creating("web", replacing=True) as staging:  # noqa: PT012
        store.write_new(record(spec("web", vcpus=4)), staging)
        raise ZeroDivisionError
    assert store.read("web").spec.vcpus == 1
    assert [path.name for path in store.data.vms.iterdir()] == ["web"]


def test_directories_change_places_also_without_help_of_the_file_system(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "no such rename here")

    monkeypatch.setattr("vm_manager.state.store.exchange", cannot)
    _make(store, record())
    with store.creating("web", replacing=True) as staging:
        store.write_new(record(spec("web", vcpus=4)), staging)
    assert store.read("web").spec.vcpus == 4
    assert [path.name for path in store.data.vms.iterdir()] == ["web"]


@pytest.mark.parametrize(("mode", "networks"), [("user", (Network(),)), ("none", ())])
def test_records_with_one_network_are_migrated(store: InstanceStore, mode: str, networks: tuple[Network, ...]) -> None:
    _make(store, record())
    path = store.files("web").record
    plain = json.loads(path.read_text())
    plain["schema"], plain["spec"]["network"] = 3, mode
    del plain["spec"]["networks"], plain["spec"]["forwards"]
    path.write_text(json.dumps(plain))
    read = store.read("web")
    assert (read.spec.networks, read.spec.forwards, read.schema) == (networks, (), RECORD_SCHEMA)


def test_records_of_the_first_schema_are_migrated(store: InstanceStore) -> None:
    wanted = full_spec()
    _make(store, record(wanted))
    path = store.files("web").record
    plain = json.loads(path.read_text())
    plain["schema"] = 1
    plain["progress"] = {"started": True, "host_key_verified": True, "steps_done": 2}
    path.write_text(json.dumps(plain))
    read = store.read("web")
    assert read.schema == RECORD_SCHEMA
    done = tuple(step.identity for step in wanted.provisioners)
    assert read.progress == Progress(started=True, reached=True, host_key_verified=True, done=done)
    store.write(read)
    assert json.loads(path.read_text())["schema"] == RECORD_SCHEMA
