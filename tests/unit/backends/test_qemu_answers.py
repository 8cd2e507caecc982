"""What QEMU answers, whatever its shape."""

from __future__ import annotations

import pytest

from vm_manager.backends.qemu.answers import chardev, mapping, mappings, number, run_state


@pytest.mark.parametrize("answer", [None, "running", 7, [], [{"status": "running"}], {}])
def test_an_answer_of_another_shape_says_nothing(answer: object) -> None:
    assert mapping(answer) == {}
    assert run_state(answer) == "unknown"
    assert chardev(answer, "console") == {}


def test_of_a_list_the_objects_are_taken() -> None:
    assert mappings([{"id": 1}, None, "x", {"id": 2}]) == [{"id": 1}, {"id": 2}]
    assert mappings({"id": 1}) == []


def test_a_number_is_a_whole_one() -> None:
    assert [number({"total": value}, "total") for value in (7, "7", None, 7.5)] == [7, 0, 0, 0]


def test_a_character_device_is_found_by_its_label() -> None:
    devices = [{"label": "agent"}, {"label": "console", "filename": "disconnected:unix:console.sock"}]
    assert chardev(devices, "console") == devices[1]
    assert run_state({"status": "paused"}) == "paused"
