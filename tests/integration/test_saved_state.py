"""A machine saved to disk: it goes on in another QEMU where it stood, and what fails on the way loses nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driver import SavedGuest, Vmctl, ended, qemu_processes, small_file_system
from integration.saver import Saver
from proofs import prove

_MIB = 1024 * 1024
_COUNTER = "(setsid sh -c 'while :; do echo >>/tmp/ticks; sleep 0.1; done' >/dev/null 2>&1 &)"


@pytest.fixture(scope="module")
def guest(saved_tiny: SavedGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saver]:
    """One guest for all tests here: each leaves it in any state, and `up` brings it back."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("saved"))
    with small_file_system(vmctl.data, "900m"):
        yield Saver(saved_tiny.restore(vmctl))
        vmctl.destroy_all()


@pytest.fixture
def running(guest: Saver) -> Saver:
    """The guest, up."""
    guest.vmctl("up")
    return guest


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Take all the space there is."""
    fill = directory / "fill"
    descriptor = os.open(fill, os.O_RDWR | os.O_CREAT)
    try:
        status = os.statvfs(directory)
        os.posix_fallocate(descriptor, 0, status.f_bavail * status.f_frsize)
        yield
    finally:
        os.close(descriptor)
        fill.unlink()


def ticks(guest: Saver) -> int:
    """How far the counter in the guest has come."""
    return int(guest.run("wc -l </tmp/ticks"))


def test_a_process_in_the_guest_goes_on_where_it_stood(running: Saver) -> None:
    running.run(_COUNTER)
    while ticks(running) < 3:
        time.sleep(0.1)
    uptime = float(running.run("cut -d' ' -f1 /proc/uptime"))
    result = running.vmctl("suspend", "--to-disk", "tiny")
    assert result.stdout == "tiny: saved to disk\n"
    vm = running.vm()
    assert (vm["state"], vm["saved_to_disk"], vm["pid"]) == ("suspended", True, None)
    assert qemu_processes(running.vmctl.data) == []
    assert sorted(running.rests()) == ["saved-state", "saved-state.json"]
    assert [path.name for path in running.home.iterdir() if path.lstat().st_mode & 0o077] == []
    assert running.vmctl("suspend", "tiny").stdout == "tiny: already saved to disk\n"
    assert running.vmctl("suspend", "--to-disk", "tiny").stdout == "tiny: already saved to disk\n"

    assert running.vmctl("resume", "tiny").stdout == "tiny: restored, ready\n"
    assert running.rests() == []
    assert running.vm()["state"] == "running"
    before = ticks(running)
    while ticks(running) == before:
        time.sleep(0.1)
    assert float(running.run("cut -d' ' -f1 /proc/uptime")) > uptime


def test_up_restores_and_says_what_of_the_vmfile_has_to_wait(running: Saver) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    vmfile = running.vmctl.directory / "VMFile.kdl"
    text = vmfile.read_text()
    vmfile.write_text(text.replace("memory 256", "memory 300"))
    try:
        assert running.vmctl("up").stdout == "tiny: restored, ready\n"
        assert running.vmctl.record("tiny")["spec"]["memory_mib"] == 256
    finally:
        vmfile.write_text(text)


def test_a_vm_saved_while_it_was_paused_runs_when_it_is_back(running: Saver) -> None:
    running.vmctl("suspend", "tiny")
    assert running.vmctl("suspend", "--to-disk", "tiny").stdout == "tiny: saved to disk\n"
    assert running.vmctl("start", "tiny").stdout == "tiny: restored, ready\n"


def test_down_lets_a_saved_guest_shut_down_by_itself(running: Saver) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    assert running.vmctl("down").stdout == "tiny: restored, stopped\n"
    assert "tiny: power button" in (running.home / "console.log").read_text(errors="replace")
    assert (running.vm()["state"], running.rests()) == ("stopped", [])


def test_too_little_space_is_found_before_anything_is_written(running: Saver) -> None:
    with full(running.vmctl.data):
        result = running.vmctl("suspend", "--to-disk", "tiny", status=6)
    assert "error[vm_manager::host::disk_full]: the machine's state takes up to" in result.stderr
    assert (running.vm()["state"], running.rests()) == ("running", [])


def test_a_disk_that_fills_up_while_saving(running: Saver) -> None:
    with running.caught_saving() as (qemu, command), full(running.vmctl.data):
        os.kill(qemu, signal.SIGCONT)
        result = ended(command)
    prove(result, "vm_manager::host::disk_full", evidence="No space left on device")
    assert "No space left on device" not in result.stderr.split("error[")[1].splitlines()[0]
    assert (running.vm()["state"], running.rests()) == ("running", [])
    assert running.run("echo alive") == "alive\n"
    assert running.vmctl("suspend", "--to-disk", "tiny").stdout == "tiny: saved to disk\n"
    assert running.vm()["last_failure"] is None


def test_ctrl_c_while_saving_leaves_it_running(running: Saver) -> None:
    with running.caught_saving() as (qemu, command):
        os.killpg(command.pid, signal.SIGINT)
        time.sleep(0.5)
        os.kill(qemu, signal.SIGCONT)
        result = ended(command)
    assert (result.status, result.code) == (130, "vmctl::interrupted")
    assert (running.vm()["state"], running.rests()) == ("running", [])
    assert running.run("echo alive") == "alive\n"


def test_vmctl_killed_while_saving_and_the_next_command_goes_on(running: Saver) -> None:
    with running.caught_saving() as (qemu, command):
        command.kill()
        os.kill(qemu, signal.SIGCONT)
        command.communicate()
    assert not running.saved.exists()
    assert running.vm()["state"] == "suspended"
    assert running.vmctl("suspend", "--to-disk", "tiny").stdout == "tiny: saved to disk\n"
    assert running.vmctl("resume", "tiny").stdout == "tiny: restored, ready\n"


def test_qemu_killed_while_saving(running: Saver) -> None:
    with running.caught_saving() as (qemu, command):
        os.kill(qemu, signal.SIGKILL)
        result = ended(command)
    prove(result, "vm_manager::qemu::exited")
    assert (running.vm()["state"], running.rests()) == ("stopped", [])


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_off_a_little(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def _scramble(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * _MIB)


def _flip_a_bit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut_in_half, "load of migration failed"),
        (_scramble, "load of migration failed"),
        (_cut_off_a_little, None),
        (_flip_a_bit, None),
    ],
)
def test_a_damaged_state_is_kept_and_the_way_without_it_is_named(
    running: Saver, damage: object, reason: str | None
) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    assert callable(damage)
    damage(running.saved)
    for command in ("resume", "start"):
        result = running.vmctl(command, "tiny", status=7)
        prove(result, "vm_manager::qemu::migration_failed", evidence=reason)
        message = result.stderr.split("error[")[1].splitlines()[0]
        assert "load of migration" not in message
        assert "`vmctl start tiny --discard-saved-state`" in result.stderr
        vm = running.vm()
        assert (vm["state"], vm["saved_to_disk"], qemu_processes(running.vmctl.data)) == ("suspended", True, [])
        # A failure is not replaced by its own consequence: that the QEMU which could not load it ended.
        assert vm["last_failure"]["code"] == "vm_manager::qemu::migration_failed"
    assert running.vmctl("list").stdout.splitlines()[1].split()[1] == "suspended!"
    without = running.vmctl("start", "tiny", "--discard-saved-state").stdout
    assert without.startswith("tiny: discarded ")
    assert without.endswith(" MiB of saved state, started, ready\n")
    assert running.rests() == []


def test_another_command_line_is_refused_before_qemu_starts(running: Saver) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    record = running.home / "vm.json"
    text = record.read_text()
    changed = json.loads(text)
    changed["spec"]["cpu"] = "qemu64"
    record.write_text(json.dumps(changed))
    result = running.vmctl("resume", "tiny", status=7)
    prove(result, "vm_manager::qemu::migration_failed", evidence="would be now: qemu64")
    assert "saved under: max" in result.stderr
    record.write_text(text)
    assert running.vmctl("resume", "tiny").stdout == "tiny: restored, ready\n"


def test_another_version_of_qemu_is_refused(running: Saver) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    needs = running.home / "saved-state.json"
    text = needs.read_text()
    needs.write_text(json.dumps(json.loads(text) | {"qemu": "6.1"}))
    result = running.vmctl("resume", "tiny", status=7)
    assert "the state was saved by QEMU 6.1, and this is QEMU " in result.stderr
    assert qemu_processes(running.vmctl.data) == []
    needs.write_text("{")
    assert running.vmctl("resume", "tiny", status=14).code == "vm_manager::state::corrupt"
    needs.write_text(text)
    assert running.vmctl("resume", "tiny").stdout == "tiny: restored, ready\n"


def test_destroying_says_that_memory_went_with_it(running: Saver) -> None:
    running.vmctl("suspend", "--to-disk", "tiny")
    assert running.vmctl("destroy", "tiny").stdout == "tiny: destroyed, with its saved state\n"
