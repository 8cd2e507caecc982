"""What QEMU's trace tells of a machine's life, and what it shows on its screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm_manager.backends.qemu.history import History, read_history
from vm_manager.backends.qemu.screen import text_lines

# As QEMU 7.2 wrote them.
_STARTED = """\
434@1795184270.802597:monitor_protocol_event_emit event=4 data=0x5619a7f46600
434@1795184270.802634:runstate_set current_run_state 6 (prelaunch) new_state 9 (running)
"""
_PANICKED = """\
434@1795184280.5:monitor_protocol_event_emit event=9 data=0x5619a7f46600
434@1795184280.6:runstate_set current_run_state 9 (running) new_state 14 (guest-panicked)
"""
_BUTTON = "434@1795184281.0:qemu_system_powerdown_request \n"


_ENDED = """\
434@1795184282.3:monitor_protocol_event_emit event=0 data=0x5619a7f46600
434@1795184282.4:runstate_set current_run_state 9 (running) new_state 11 (shutdown)
"""


def _shutdown(cause: int) -> str:
    return f"434@1795184282.25:qemu_system_shutdown_request reason={cause}\n{_ENDED}"


def _read(tmp_path: Path, text: str) -> History:
    (tmp_path / "events.log").write_text(text)
    return read_history(tmp_path / "events.log")


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert read_history(tmp_path / "events.log") == History()


def test_the_state_is_the_last_one_with_the_time_since_when(tmp_path: Path) -> None:
    assert _read(tmp_path, _STARTED) == History("running", 1795184270.802634)
    assert _read(tmp_path, _STARTED + _PANICKED) == History("guest-panicked", 1795184280.6)


def test_a_guest_that_powers_itself_off_is_told_from_one_that_was_asked(tmp_path: Path) -> None:
    alone = _read(tmp_path, _STARTED + _shutdown(6))
    assert (alone.ended, alone.ended_by_guest, alone.ended_by_signal) == (1795184282.25, True, False)
    asked = _read(tmp_path, _STARTED + _BUTTON + _shutdown(6))
    assert (asked.ended, asked.ended_by_guest) == (1795184282.25, False)


def test_a_signal_is_told_from_the_monitor(tmp_path: Path) -> None:
    # QEMU writes down no request then, only that it ends.
    killed = _read(tmp_path, _STARTED + _ENDED)
    assert (killed.ended, killed.ended_by_signal, killed.ended_by_guest) == (1795184282.4, True, False)
    told = _read(tmp_path, _STARTED + _shutdown(2))
    assert (told.ended, told.ended_by_signal, told.ended_by_guest) == (1795184282.25, False, False)


def test_restarts_are_counted_each_once_though_the_firmware_may_reset_once_more(tmp_path: Path) -> None:
    resets = [f"434@179518428{time}:monitor_protocol_event_emit event=2 data=0x5\n" for time in (1.0, 1.06, 4.0, 8.0)]
    assert _read(tmp_path, _STARTED + "".join(resets)).resets == 3


@pytest.mark.parametrize("junk", ["\xff\n", "434@1:runstate_set\n", "1@2.5:runstate_set nonsense\n", "1@2.5:x"])
def test_lines_that_say_nothing_are_passed_over(tmp_path: Path, junk: str) -> None:
    assert _read(tmp_path, _STARTED + junk) == History("running", 1795184270.802634)


def _screen(*lines: str, attribute: int = 7) -> bytes:
    text = "".join(line.ljust(80) for line in lines).ljust(2000)
    return b"".join(bytes((ord(character), attribute)) for character in text)


def test_a_screen_in_text_mode_has_lines() -> None:
    assert text_lines(_screen("SeaBIOS", "", "No bootable device.")) == ("SeaBIOS", "No bootable device.")


def test_a_line_that_is_longer_than_a_row_is_one_and_what_has_scrolled_off_comes_before() -> None:
    long = "Kernel panic - not syncing: " + "x" * 60
    memory = _screen("scrolled off")[: 80 * 2] + _screen(long[:80], long[80:], "end")
    assert text_lines(memory) == ("scrolled off", long, "end")
    assert text_lines(memory[:-2]) == ()


def test_a_screen_that_is_cleared_has_none() -> None:
    assert text_lines(bytes(4000)) == ()


@pytest.mark.parametrize("pixels", [b"\xff" * 4000, bytes(range(256)) * 15 + bytes(160), b"", b"No"])
def test_pixels_are_no_text(pixels: bytes) -> None:
    assert text_lines(pixels) == ()
