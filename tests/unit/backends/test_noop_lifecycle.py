"""The lifecycle of VMs through the library's front door, without machines."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from unit.samples import record, spec
from vm_manager.app.manager import Manager
from vm_manager.backends.noop.backend import NoopBackend
from vm_manager.diagnostics.errors import InvalidState, MachineGone, StateLocked, Usage, VmError, VmForeign, VmNotFound
from vm_manager.domain.deadline import CancelToken, Deadline
from vm_manager.domain.events import Event, StepFailed, StepFinished, StepStarted
from vm_manager.domain.instance import BaseImage, VmState
from vm_manager.domain.outcome import Outcome
from vm_manager.state.layout import DataDir
from vm_manager.state.store import InstanceStore
from vm_manager.ui.outcomes import describe
from vm_manager.vmfile.load import Project


class _World:
    """A data directory, a directory for VMFiles, and everything that was told."""

    def __init__(self, root: Path) -> None:
        self.root, self.events = root, list[Event]()
        self.data = root / "data"
        self.vms = Manager(self.data, backend="noop", emit=self.events.append)
        (root / "disk.img").write_bytes(b"\0" * 512)

    def project(self, text: str, directory: str = "project") -> Project:
        home = self.root / directory
        home.mkdir(exist_ok=True)
        (home / "VMFile.kdl").write_text(text)
        return self.vms.load(home / "VMFile.kdl")

    def up(self, project: Project, *names: str) -> dict[str, str]:
        return {outcome.vm: describe(outcome) for outcome in self.vms.up(project, names)}

    def down(self, project: Project, *names: str, destroy: bool = False) -> dict[str, str]:
        return {outcome.vm: describe(outcome) for outcome in self.vms.down(project, names, destroy=destroy)}

    def states(self) -> dict[str, VmState]:
        return {name: self.vms.status(name).state for name in self.vms.names()}


_ONE = 'vm "web" { image "../disk.img" }\n'
_TWO = _ONE + 'vm "db" { image "../disk.img"; memory 64; ssh {} }\n'

_FILES = (
    *("vm.json", "vm.json.bak", "journal.jsonl", "machine", "seed.iso", "known_hosts", "ssh_host_ed25519_key"),
    *("id_ed25519_generated", "id_ed25519_generated.pub"),
)


@pytest.fixture
def world(tmp_path: Path) -> _World:
    return _World(tmp_path)


def test_a_life_from_nothing_to_nothing(world: _World) -> None:
    project = world.project(_ONE)
    assert world.down(project) == {"web": "does not exist"}
    assert world.up(project) == {"web": "created, started"}
    assert world.states() == {"web": VmState.RUNNING}
    assert world.up(project) == {"web": "already running"}
    assert world.down(project) == {"web": "stopped"}
    assert world.down(project) == {"web": "already stopped"}
    assert world.states() == {"web": VmState.STOPPED}
    assert world.up(project) == {"web": "started"}
    assert world.down(project, destroy=True) == {"web": "destroyed"}
    assert world.down(project, destroy=True) == {"web": "does not exist"}
    assert world.states() == {}
    assert list((world.data / "vms").iterdir()) == []


def test_every_step_is_told_from_its_beginning_to_its_end(world: _World) -> None:
    world.up(world.project(_ONE))
    told = [(type(event), event.step) for event in world.events if isinstance(event, (StepStarted, StepFinished))]
    assert told == [(StepStarted, "create"), (StepFinished, "create"), (StepStarted, "start"), (StepFinished, "start")]


def test_only_the_vms_that_are_named_are_worked_on(world: _World) -> None:
    project = world.project(_TWO)
    assert world.up(project, "db") == {"db": "created, started"}
    assert world.up(project) == {"web": "created, started", "db": "already running"}
    assert world.down(project, "web") == {"web": "stopped"}
    assert world.states() == {"db": VmState.RUNNING, "web": VmState.STOPPED}


def test_a_record_knows_where_the_vm_comes_from(world: _World) -> None:
    project = world.project(_TWO)
    world.up(project)
    made = world.vms.status("db").record
    assert (made.origin, made.backend, made.spec.memory_mib) == (str(project.path), "noop", 64)
    status = (world.root / "disk.img").stat()
    assert made.base_image == BaseImage(
        path=str(world.root / "disk.img"),
        size_bytes=512,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        ctime_ns=status.st_ctime_ns,
        content=f"sha256:{sha256(bytes(512)).hexdigest()}",
    )
    assert made.progress.started
    assert made.progress.ready


def test_a_seed_brings_keys_and_known_hosts_that_belong_together(world: _World) -> None:
    world.up(world.project(_TWO))
    home = world.data / "vms" / "db"
    assert {path.name: f"{path.stat().st_mode & 0o777:o}" for path in home.iterdir()} == dict.fromkeys(_FILES, "600")
    assert (home / "known_hosts").read_text().startswith("db ssh-ed25519 AAAA")
    assert not (world.data / "vms" / "web" / "seed.iso").exists()


def test_two_creations_are_two_instances(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    first = world.vms.status("web").record.instance_id
    world.down(project, destroy=True)
    world.up(project)
    assert world.vms.status("web").record.instance_id != first


def test_changed_memory_is_taken_up_by_the_next_start(world: _World) -> None:
    world.up(world.project(_ONE))
    changed = world.project('vm "web" { image "../disk.img"; memory 128 }')
    assert world.up(changed) == {
        "web": "already running; memory changed: takes effect after `vmctl down` and `vmctl up`"
    }
    assert world.vms.status("web").record.spec.memory_mib == 1024
    world.down(changed)
    world.up(changed)
    assert world.vms.status("web").record.spec.memory_mib == 128


def test_a_vm_of_another_vmfile_is_left_alone(world: _World) -> None:
    world.up(world.project(_ONE))
    other = world.project(_ONE, "other")
    for use in (world.up, world.down):
        with pytest.raises(VmForeign) as caught:
            use(other)
        assert caught.value.diagnostic.args["origin"] == str(world.root / "project" / "VMFile.kdl")
        assert "`vmctl up --file " in caught.value.diagnostic.help[1]
    assert world.states() == {"web": VmState.RUNNING}


def test_destroying_by_name_does_not_ask_where_a_vm_comes_from(world: _World) -> None:
    world.up(world.project(_TWO))
    assert [describe(outcome) for outcome in world.vms.destroy(["web", "db", "web"])] == ["destroyed", "destroyed"]
    assert world.states() == {}


def test_nothing_is_destroyed_when_one_of_the_names_is_unknown(world: _World) -> None:
    world.up(world.project(_ONE))
    with pytest.raises(VmNotFound):
        world.vms.destroy(["web", "wbe"])
    assert world.states() == {"web": VmState.RUNNING}


def test_a_vm_whose_record_is_lost_can_be_destroyed(world: _World) -> None:
    world.up(world.project(_ONE))
    (world.data / "vms" / "web" / "vm.json").write_bytes(b"")
    assert [describe(outcome) for outcome in world.vms.destroy(["web"])] == ["destroyed"]
    assert world.vms.names() == ()


def test_one_vm_that_fails_does_not_stop_the_others(world: _World) -> None:
    (world.root / "other.img").touch()
    project = world.project(_ONE + 'vm "db" { image "../other.img" }\n')
    (world.root / "other.img").unlink()
    outcomes = {outcome.vm: outcome for outcome in world.vms.up(project)}
    assert outcomes["web"].error is None
    failure = outcomes["db"].error
    assert failure
    assert failure.diagnostic.code == "vm_manager::io"
    assert (failure.diagnostic.subject.vm, failure.diagnostic.operation) == ("db", "create")
    assert world.states() == {"web": VmState.RUNNING}
    assert [event.vm for event in world.events if isinstance(event, StepFailed)] == ["db"]


def test_a_failure_stays_with_the_vm_until_the_same_operation_succeeds(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    world.down(project)
    machine = world.data / "vms" / "web" / "machine"
    machine.mkdir()
    (outcome,) = world.vms.up(project)
    assert outcome.error
    failure = world.vms.status("web").last_failure
    assert failure
    assert (failure.operation, failure.code) == ("start", "vm_manager::io")
    machine.rmdir()
    world.up(project)
    assert world.vms.status("web").last_failure is None


def test_a_vm_that_another_command_works_on_is_locked(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    with InstanceStore(DataDir(world.data)).lock("web", "vmctl test"):
        for use in (world.up, world.down):
            with pytest.raises(StateLocked, match="vmctl test"):
                use(project)
        with pytest.raises(StateLocked):
            world.vms.destroy(["web"])
        assert world.states() == {"web": VmState.RUNNING}


def test_provisioning_needs_a_running_vm(world: _World) -> None:
    project = world.project(_ONE)
    with pytest.raises(VmNotFound):
        world.vms.provision(project)
    world.up(project)
    world.down(project)
    with pytest.raises(InvalidState) as caught:
        world.vms.provision(project)
    assert "is stopped" in str(caught.value)


def test_logging_in_needs_a_running_vm(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    world.down(project)
    with pytest.raises(InvalidState):
        world.vms.login_command("web")


def test_a_vm_keeps_its_backend_whatever_is_chosen_for_new_ones(world: _World) -> None:
    project = world.project('vm "web" { image "../disk.img"; ssh {} }')
    world.up(project)
    world.down(project)
    qemu = Manager(world.data, backend="qemu")
    assert [describe(outcome) for outcome in qemu.up(project)] == ["started"]


def test_a_corrupt_record_does_not_stop_the_other_vms(world: _World) -> None:
    project = world.project(_TWO)
    world.up(project)
    (world.data / "vms" / "web" / "vm.json").write_bytes(b"")
    outcomes = {outcome.vm: outcome.error for outcome in world.vms.down(project)}
    assert outcomes["db"] is None
    assert isinstance(outcomes["web"], VmError)


def _summaries(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [str(outcome.error or describe(outcome)) for outcome in outcomes]


def test_saved_to_disk_and_back_by_every_way(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    for back in (world.vms.resume, world.vms.start, lambda names: world.vms.up(project, names)):
        assert _summaries(world.vms.suspend(["web"], to_disk=True)) == ["saved to disk"]
        assert world.states() == {"web": VmState.SUSPENDED}
        assert world.vms.status("web").saved
        assert _summaries(world.vms.suspend(["web"], to_disk=True)) == ["already saved to disk"]
        assert _summaries(back(["web"])) == ["restored"]
        assert world.states() == {"web": VmState.RUNNING}
    world.vms.suspend(["web"], to_disk=True)
    assert _summaries(world.vms.stop(["web"])) == ["restored, stopped"]
    assert not (world.data / "vms" / "web" / "saved-state").exists()


def test_memory_that_is_given_up_is_named(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    world.vms.suspend(["web"], to_disk=True)
    outcomes = world.vms.start(["web"], discard_saved_state=True)
    assert _summaries(outcomes) == ["discarded 0 MiB of saved state, started"]
    assert _summaries(world.vms.start(["web"], discard_saved_state=True)) == ["already running"]
    world.vms.suspend(["web"], to_disk=True)
    (replaced,) = _summaries(world.vms.reload(project))
    assert " and its saved state, started" in replaced
    world.vms.suspend(["web"], to_disk=True)
    assert _summaries(world.vms.destroy(["web"])) == ["destroyed, with its saved state"]
    world.up(project)
    world.vms.suspend(["web"], to_disk=True)
    assert _summaries(world.vms.down(project, destroy=True)) == ["destroyed, with its saved state"]
    world.up(project)
    world.vms.suspend(["web"], to_disk=True)
    (world.data / "vms" / "web" / "vm.json").write_bytes(b"")
    assert _summaries(world.vms.destroy(["web"])) == ["destroyed, with its saved state"]


def test_snapshots_from_making_to_removing(world: _World) -> None:
    project = world.project(_ONE)
    world.up(project)
    assert _summaries(world.vms.create_snapshot("web", "one")) == ["took snapshot one (0 MiB of memory)"]
    assert "already has a snapshot 'one'" in _summaries(world.vms.create_snapshot("web", "one"))[0]
    assert [kept.tag for kept in world.vms.snapshots("web")] == ["one"]
    world.down(project)
    assert _summaries(world.vms.restore_snapshot("web", "one")) == ["restored snapshot one"]
    assert world.states() == {"web": VmState.RUNNING}
    assert world.vms.status("web").record.progress.done == ()
    assert _summaries(world.vms.delete_snapshot("web", "one")) == ["deleted snapshot one"]
    assert world.vms.snapshots("web") == ()
    with pytest.raises(Usage):
        world.vms.create_snapshot("web", "no tag")
    with pytest.raises(VmNotFound):
        world.vms.create_snapshot("wbe", "one")


# The contract of backends


def test_every_operation_may_be_repeated(tmp_path: Path) -> None:
    backend, told = NoopBackend(), list[Event]()
    base = BaseImage(path="/base", size_bytes=1, mtime_ns=1)
    assert json.dumps(backend.prepare(spec(), base, tmp_path))
    machine = backend.machine(record(), tmp_path)
    assert machine.observe().state is VmState.PREPARED
    for _ in range(2):
        machine.start(CancelToken(), list[Event]().append)
        assert machine.observe().alive
        machine.require_alive()
    for _ in range(2):
        machine.stop(Deadline(0), told.append)
        assert not machine.observe().alive
    for _ in range(2):
        backend.remnant("web", tmp_path).destroy()
    with pytest.raises(MachineGone, match="gone"):
        machine.require_alive()
    for _ in range(2):
        backend.close()
