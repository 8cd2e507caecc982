"""What `domain.backend.Backend` promises, held against every backend: no guest is needed for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from driver import qemu_processes, wait_for
from vm_manager.backends.registry import load_backend
from vm_manager.diagnostics.errors import BackendNotAvailable, MachineGone, QemuError, QemuExited, VmError
from vm_manager.domain.backend import Backend
from vm_manager.domain.capabilities import Feature
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import Event
from vm_manager.domain.instance import BaseImage, InstanceRecord, Observation, Progress, VmState
from vm_manager.domain.machine import Machine
from vm_manager.domain.spec import Accelerator, ImageSource, VmSpec


class _Machine:
    """A VM in a directory of its own, and the backend that drives it."""

    def __init__(self, backend: Backend, home: Path, image: Path) -> None:
        self.backend, self.home = backend, home
        self.events: list[Event] = []
        home.mkdir(mode=0o700)
        status = image.stat()
        base = BaseImage(path=str(image), size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        spec = VmSpec(name="blank", image=ImageSource(path=str(image)), memory_mib=32, accelerator=Accelerator.TCG)
        self.record = InstanceRecord(
            name="blank",
            origin="create",
            instance_id="1",
            created_at="2026-01-02T03:04:05+00:00",
            spec=spec,
            base_image=base,
            backend=backend.name,
            backend_data=backend.prepare(spec, base, home),
        )

    @property
    def bound(self) -> Machine:
        return self.backend.machine(self.record, self.home)

    def start(self) -> None:
        self.record = replace(self.record, progress=Progress(started=True))
        self.record = replace(self.record, backend_data=self.bound.start(CancelToken(), self.events.append))

    def stop(self) -> None:
        # The firmware does not react to the power button: by force, at once.
        self.bound.stop(Deadline(0), self.events.append)

    def save(self) -> int:
        return self.bound.saved_state().save(CancelToken(), self.events.append)

    def restore(self) -> None:
        data = self.bound.saved_state().restore(CancelToken(), self.events.append)
        self.record = replace(self.record, backend_data=data)

    def look(self) -> Observation:
        return self.bound.observe()

    @property
    def state(self) -> VmState:
        return self.look().state


@pytest.fixture(params=["noop", "qemu"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Machine]:
    image = tmp_path / "blank.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True)
    made = _Machine(load_backend(request.param), tmp_path / "home", image)
    yield made
    made.backend.remnant("blank", made.home).destroy()
    assert qemu_processes(tmp_path) == []


def test_a_prepared_machine_has_never_run_and_is_off(machine: _Machine) -> None:
    seen = machine.look()
    assert (seen.state, seen.alive, seen.pid, seen.ssh) == (VmState.PREPARED, False, None, None)
    with pytest.raises(MachineGone):
        machine.bound.require_alive()


def test_a_machine_that_was_prepared_may_move(machine: _Machine, tmp_path: Path) -> None:
    machine.home = machine.home.rename(tmp_path / "elsewhere")
    machine.start()
    assert machine.state is VmState.RUNNING


def test_started_it_is_alive_and_stopped_it_is_not(machine: _Machine) -> None:
    machine.start()
    assert (machine.state, machine.look().alive) == (VmState.RUNNING, True)
    machine.bound.require_alive()
    machine.stop()
    assert (machine.state, machine.look().alive) == (VmState.STOPPED, False)


def test_stopping_twice_is_no_mistake(machine: _Machine) -> None:
    machine.stop()
    machine.start()
    machine.stop()
    machine.stop()
    assert machine.state is VmState.STOPPED


def test_it_starts_again(machine: _Machine) -> None:
    for _ in range(2):
        machine.start()
        assert machine.state is VmState.RUNNING
        machine.stop()


def test_suspending_and_resuming_are_idempotent(machine: _Machine) -> None:
    machine.start()
    for _ in range(2):
        machine.bound.suspend()
        assert (machine.state, machine.look().alive) == (VmState.SUSPENDED, True)
    for _ in range(2):
        machine.bound.resume()
        assert machine.state is VmState.RUNNING


def test_reset_it_runs_again_be_it_paused_or_not(machine: _Machine) -> None:
    machine.start()
    for pause in (False, True):
        if pause:
            machine.bound.suspend()
        machine.bound.reset()
        assert machine.state is VmState.RUNNING


def test_a_suspended_machine_can_be_stopped(machine: _Machine) -> None:
    machine.start()
    machine.bound.suspend()
    machine.stop()
    assert machine.state is VmState.STOPPED


def test_what_is_off_can_be_neither_suspended_nor_resumed(machine: _Machine) -> None:
    for act in (machine.bound.suspend, machine.bound.resume):
        with pytest.raises(QemuError):
            act()
    assert machine.state is VmState.PREPARED


def test_saved_to_disk_it_is_off_and_restored_it_runs(machine: _Machine) -> None:
    machine.start()
    machine.save()
    seen = machine.look()
    assert (seen.state, seen.alive, seen.saved, seen.pid) == (VmState.SUSPENDED, False, True, None)
    assert machine.bound.heal() == ()
    machine.restore()
    assert (machine.state, machine.look().alive, machine.look().saved) == (VmState.RUNNING, True, False)
    machine.stop()
    assert machine.state is VmState.STOPPED


def test_a_saved_state_can_be_discarded(machine: _Machine) -> None:
    assert machine.bound.saved_state().discard() == 0
    machine.start()
    assert machine.save() == machine.bound.saved_state().discard() > 0
    assert (machine.state, machine.look().saved) == (VmState.STOPPED, False)


def test_it_has_the_groups_that_its_backend_names_and_no_others(machine: _Machine) -> None:
    machine.start()
    groups: dict[Feature, tuple[Callable[[], object], ...]] = {
        Feature.SUSPEND: (machine.bound.suspend, machine.bound.resume),
        Feature.SAVED_STATE: (machine.bound.saved_state,),
        Feature.SNAPSHOTS: (machine.bound.snapshots,),
        Feature.MIGRATION: (machine.bound.migration,),
        Feature.CONSOLE: (lambda: machine.bound.connect_console().close(),),
        Feature.SCREEN: (machine.bound.picture, machine.bound.vnc_socket),
    }
    assert set(groups) == set(Feature)
    for feature, methods in groups.items():
        for method in methods:
            if feature in machine.backend.capabilities().features:
                method()
            else:
                with pytest.raises(BackendNotAvailable, match=f"has no {feature}"):
                    method()


def test_a_suspended_machine_can_be_saved_and_restored_it_runs(machine: _Machine) -> None:
    machine.start()
    machine.bound.suspend()
    machine.save()
    machine.restore()
    assert machine.state is VmState.RUNNING


def test_a_state_is_used_once(machine: _Machine) -> None:
    machine.start()
    machine.save()
    machine.restore()
    machine.stop()
    with pytest.raises(VmError):
        machine.restore()
    assert machine.state is VmState.STOPPED


def test_what_is_off_cannot_be_saved(machine: _Machine) -> None:
    with pytest.raises(QemuError):
        machine.save()
    assert (machine.state, machine.look().saved) == (VmState.PREPARED, False)


def test_a_snapshot_of_a_machine_that_runs_holds_its_memory(machine: _Machine) -> None:
    machine.start()
    machine.bound.snapshots().create("one", CancelToken())
    assert machine.state == VmState.RUNNING
    machine.stop()
    machine.bound.snapshots().create("two", CancelToken())
    one, two = machine.bound.snapshots().all()
    assert (one.tag, one.memory_bytes > 0, two.tag, two.memory_bytes) == ("one", True, "two", 0)
    machine.bound.snapshots().restore("two", CancelToken())
    assert not machine.look().alive
    for _ in range(2):  # from off, and while it runs
        machine.bound.snapshots().restore("one", CancelToken())
        assert machine.state == VmState.RUNNING
    machine.bound.snapshots().delete("one", CancelToken())
    machine.stop()
    machine.bound.snapshots().delete("two", CancelToken())
    assert machine.bound.snapshots().all() == ()


def test_a_machine_that_stands_still_keeps_standing_after_a_snapshot(machine: _Machine) -> None:
    machine.start()
    machine.bound.suspend()
    machine.bound.snapshots().create("one", CancelToken())
    assert machine.state is VmState.SUSPENDED


def test_destroying_needs_no_state_and_no_record(machine: _Machine) -> None:
    machine.backend.remnant("blank", machine.home).destroy()
    machine.start()
    machine.backend.remnant("blank", machine.home).destroy()
    machine.backend.remnant("blank", machine.home).destroy()
    assert not machine.look().alive


def test_its_logs_are_files_of_its_own_with_or_without_its_record(machine: _Machine) -> None:
    logs = machine.bound.logs()
    assert logs == machine.backend.remnant("blank", machine.home).logs()
    assert list(logs) == {"noop": [], "qemu": ["qemu"]}[machine.backend.name]
    machine.start()
    assert all(path.is_file() and path.parent == machine.home for path in logs.values())


def test_there_is_nothing_to_heal_in_any_state_of_a_machine_that_lives_well(machine: _Machine) -> None:
    assert machine.bound.heal() == ()
    machine.start()
    assert machine.bound.heal() == ()
    assert machine.state is VmState.RUNNING
    machine.stop()
    assert machine.bound.heal() == ()
    assert machine.bound.heal() == ()


def test_evidence_and_limits_never_fail(machine: _Machine) -> None:
    machine.bound.evidence()
    machine.start()
    machine.bound.evidence()
    assert machine.bound.boot_timeout_s() > machine.bound.stall_limit_s() - 1 >= 0


def test_what_runs_has_vitals_and_what_does_not_has_none(machine: _Machine) -> None:
    assert machine.bound.vitals() is None
    machine.start()
    vitals = machine.bound.vitals()
    assert vitals is not None
    assert (vitals.disk_operations >= 0, vitals.resets) == (True, 0)
    machine.stop()
    assert machine.bound.vitals() is None


def test_a_screen_may_be_asked_for_in_any_state(machine: _Machine) -> None:
    assert machine.bound.screen() == ()
    machine.start()
    assert all(line.isprintable() for line in machine.bound.screen())
    machine.stop()
    assert machine.bound.screen() == ()


def test_nothing_befalls_a_machine_that_is_started_paused_and_stopped(machine: _Machine) -> None:
    def incident() -> object:
        return machine.bound.incident()

    assert incident() is None
    machine.start()
    assert incident() is None
    machine.bound.suspend()
    assert incident() is None
    machine.bound.resume()
    machine.stop()
    assert incident() is None


def test_everything_it_leaves_is_private(machine: _Machine) -> None:
    machine.start()
    assert [path.name for path in machine.home.iterdir() if path.lstat().st_mode & 0o077] == []


@pytest.mark.parametrize("machine", ["qemu"], indirect=True)
def test_a_qemu_that_is_killed_is_an_incident_with_its_signal_for_its_parent(machine: _Machine) -> None:
    machine.start()
    (pid,) = qemu_processes(machine.home)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not machine.look().alive, "its end")
    with pytest.raises(QemuExited, match="QEMU was killed by SIGKILL"):
        machine.bound.require_alive()
    incident = machine.bound.incident()
    assert incident is not None
    assert str(incident.error).startswith("QEMU was killed by SIGKILL at ")


@pytest.mark.parametrize("machine", ["qemu"], indirect=True)
def test_the_firmwares_words_are_on_the_screen(machine: _Machine) -> None:
    machine.start()
    wait_for(lambda: "No bootable device." in machine.bound.screen(), "the firmware")
