"""What befell a machine, told from the files that it left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.history import own_end
from vm_manager.backends.qemu.incidents import ending, exited, living_incident
from vm_manager.diagnostics.errors import GuestPanicked, QemuIoError
from vm_manager.host.facts import booted_at

_SHUTDOWN = "7@1795184282.4:runstate_set current_run_state 9 (running) new_state 11 (shutdown)\n"


def _request(cause: int) -> str:
    return f"7@1795184282.25:qemu_system_shutdown_request reason={cause}\n{_SHUTDOWN}"


def _state(state: str) -> str:
    return f"7@1795184280.5:runstate_set current_run_state 9 (running) new_state 14 ({state})\n"


@pytest.fixture
def files(tmp_path: Path) -> QemuFiles:
    for name in ("overlay.qcow2", "console.log", "qemu.log", "events.log", "end"):
        (tmp_path / name).touch()
    return QemuFiles(tmp_path)


def _last_written(files: QemuFiles, seconds: float) -> None:
    for path in files.home.iterdir():
        os.utime(path, (seconds, seconds))


def test_a_panic_comes_with_its_time_and_the_consoles_lines(files: QemuFiles) -> None:
    files.events_log.write_text(_state("guest-panicked"))
    files.console_log.write_text("fine\r\n[    3.7] Kernel panic - not syncing: sysrq triggered crash\r\n")
    incident = living_incident("web", files)
    assert incident
    assert isinstance(incident.error, GuestPanicked)
    assert incident.time == "2026-11-20T14:18:00.500+00:00"
    (evidence,) = incident.error.diagnostic.evidence
    assert evidence.lines == ("fine", "[    3.7] Kernel panic - not syncing: sysrq triggered crash")


def test_a_panic_of_a_guest_without_console_is_one_all_the_same(files: QemuFiles) -> None:
    files.events_log.write_text(_state("guest-panicked"))
    files.console_log.unlink()
    incident = living_incident("web", files)
    assert incident
    assert incident.error.diagnostic.evidence == ()


def test_an_io_error_comes_with_the_space_that_is_left(files: QemuFiles) -> None:
    files.events_log.write_text(_state("io-error"))
    incident = living_incident("web", files)
    assert incident
    assert isinstance(incident.error, QemuIoError)
    assert (
        "MiB were free where the VM's disk is when vmctl looked, 20" in incident.error.diagnostic.evidence[0].lines[0]
    )
    assert "`df -h /" in incident.error.diagnostic.help[0]


@pytest.mark.parametrize("state", ["running", "paused", "shutdown", "inmigrate"])
def test_other_states_are_no_incident(files: QemuFiles, state: str) -> None:
    files.events_log.write_text(_state("io-error") + _state(state))
    assert living_incident("web", files) is None


def test_a_guest_that_powers_itself_off_is_no_incident_but_is_told(files: QemuFiles) -> None:
    files.events_log.write_text(_request(6))
    assert ending("web", files) is None
    assert own_end(files.events_log) == "the guest powered itself off at 2026-11-20 14:18:02 UTC"
    assert str(exited("web", files, 0)) == "the guest powered itself off"


@pytest.mark.parametrize("asked", ["7@1795184281.0:qemu_system_powerdown_request \n" + _request(6), _request(2)])
def test_an_end_by_the_power_button_or_the_monitor_is_told_by_nobody(files: QemuFiles, asked: str) -> None:
    files.events_log.write_text(asked)
    assert ending("web", files) is None
    assert own_end(files.events_log) is None
    assert str(exited("web", files, None)) == "QEMU was told to quit through its monitor"


def test_a_signal_that_qemu_could_log_is_in_its_log(files: QemuFiles) -> None:
    files.events_log.write_text(_SHUTDOWN)
    files.qemu_log.write_text("qemu-system-x86_64: terminating on signal 15 from pid 7 (sh)\n")
    incident = ending("web", files)
    assert incident
    assert (str(incident.error), incident.time) == ("QEMU was killed by a signal", "2026-11-20T14:18:02.400+00:00")
    assert incident.error.diagnostic.evidence[0].lines == (
        "qemu-system-x86_64: terminating on signal 15 from pid 7 (sh)",
    )


def test_a_parent_knows_the_signal(files: QemuFiles) -> None:
    assert str(exited("web", files, -9)).startswith("QEMU was killed by SIGKILL at ")
    files.end.write_text("1795184282.4")
    incident = ending("web", files, -11)
    assert incident
    assert str(incident.error) == "QEMU was killed by SIGSEGV at 2026-11-20 14:18:02 UTC"
    assert incident.time == "2026-11-20T14:18:02.400+00:00"


def test_without_a_word_the_keepers_time_counts(files: QemuFiles) -> None:
    files.end.write_text("1795184282.4")
    incident = ending("web", files)
    assert incident
    assert str(incident.error) == "QEMU vanished at 2026-11-20 14:18:02 UTC"


def test_without_a_keeper_it_was_between_the_last_word_and_now(files: QemuFiles) -> None:
    last = time.time() - 5
    _last_written(files, last)
    incident = ending("web", files)
    assert incident
    assert str(incident.error).startswith("QEMU vanished between ")
    assert incident.error.diagnostic.notes == ()


def test_a_qemu_from_before_the_hosts_start_ended_with_it(files: QemuFiles) -> None:
    booted = booted_at()
    assert booted
    _last_written(files, booted - 60)
    incident = ending("web", files)
    assert incident
    assert "rebooted" in incident.error.diagnostic.notes[0]


@pytest.mark.parametrize("pid", ["", "nonsense", "4194305\n"])
def test_a_pid_file_of_any_content_is_no_trouble(files: QemuFiles, pid: str) -> None:
    files.pid.write_text(pid)
    assert ending("web", files)
