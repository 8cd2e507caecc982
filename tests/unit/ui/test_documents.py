"""The JSON documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.samples import full_spec, instance
from vm_manager.diagnostics.errors import SeedIsoFailed
from vm_manager.diagnostics.model import Evidence, Label, Subject
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.domain.instance import Endpoint, LastFailure, Observation, Progress, VmState
from vm_manager.ui.documents import diagnostic_item, diagnostic_items, document, list_item, status_item

_BUSY = instance(
    full_spec(),
    Observation(VmState.RUNNING, True, 4711, Endpoint("127.0.0.1", 40022), "running"),
    progress=Progress(started=True, ready=True, done=("a",)),
    failure=LastFailure("2026", "wait", "code", "message", ("a", "b")),
)


def _round_trip(**fields: object) -> Any:
    return json.loads(document(**fields))


def test_a_document_shows_nothing_that_reorders_or_breaks_a_line() -> None:
    text = document(name="disk\u202egpj.\u2028\x9b2J ünïcödé")
    assert r"disk\u202egpj.\u2028\u009b2J ünïcödé" in text
    assert json.loads(text)["name"] == "disk\u202egpj.\u2028\x9b2J ünïcödé"


def test_a_document_says_which_schema_it_has() -> None:
    assert _round_trip(vms=[]) == {"schema": 1, "vms": []}


def test_a_vm_in_a_list() -> None:
    assert _round_trip(vm=list_item(_BUSY))["vm"] == {
        "name": "web",
        "state": "running",
        "backend": "noop",
        "accelerator": None,
        "vcpus": 2,
        "memory_mib": 2048,
        "network": "user",
        "forwards": [],
        "pid": 4711,
        "ssh": {"host": "127.0.0.1", "port": 40022, "user": "debian"},
        "last_failure": {
            "time": "2026",
            "operation": "wait",
            "code": "code",
            "message": "message",
            "help": ["a", "b"],
            "evidence": [],
        },
    }


def test_what_is_not_known_is_null() -> None:
    item = _round_trip(vm=list_item(instance(observed=VmState.STOPPED)))["vm"]
    assert (item["pid"], item["ssh"], item["last_failure"]) == (None, None, None)


def test_status_has_all_of_list_and_more() -> None:
    item = _round_trip(vm=status_item(_BUSY))["vm"]
    assert list_item(_BUSY).items() <= item.items()
    assert item | {"ready": True, "provisioned_steps": 1, "provisioners": 2, "disk_bytes": 20 * 1024**3} == item


@pytest.mark.parametrize("state", [state for state in VmState if state is not VmState.RUNNING])
def test_a_vm_that_does_not_run_is_not_ready(state: VmState) -> None:
    assert status_item(instance(observed=state, progress=Progress(ready=True)))["ready"] is False


def test_a_diagnostic_comes_with_lines_and_columns_from_one() -> None:
    source = Source("VMFile.kdl", 'vm {\r\n  日本 "x"\r\n}')
    error = SeedIsoFailed(
        "broken",
        labels=(Label(source, Span(source.text.index('"'), source.text.index('"') + 3), "here"),),
        evidence=(Evidence("process", "qemu-img", ("a", "b"), truncated=True),),
        related=(SeedIsoFailed("other").diagnostic,),
        subject=Subject(vm="web"),
        elapsed_s=1.5,
    )
    error.__cause__ = OSError(28, "full")
    item = _round_trip(diagnostics=[diagnostic_item(error.diagnostic)])["diagnostics"][0]
    assert item["labels"] == [
        {
            "source": "VMFile.kdl", "line": 2, "column": 6, "end_line": 2, "end_column": 9, "start": 11, "end": 14,
            "text": "here", "primary": True,
        }
    ]  # fmt: skip
    assert item["causes"] == [{"type": "OSError", "message": "full", "code": None, "errno": 28}]
    assert item["evidence"][0] == {
        "kind": "process", "title": "qemu-img", "lines": ["a", "b"], "path": None, "truncated": True, "error": None
    }  # fmt: skip
    assert [related["message"] for related in item["related"]] == ["other"]
    assert (item["code"], item["number"], item["exit_code"]) == ("vm_manager::cloudinit::iso_failed", 7, 13)
    assert (item["severity"], item["kind"], item["fault"]) == ("error", "failure", "host")
    assert (item["subject"]["vm"], item["elapsed_s"], item["retryable"]) == ("web", 1.5, False)


def test_several_diagnostics_keep_their_order() -> None:
    items = diagnostic_items(SeedIsoFailed("{n}", {"n": number}).diagnostic for number in range(3))
    assert [item["message"] for item in items] == ["0", "1", "2"]
