"""A running VM goes on below another data directory; what fails on the way leaves it running where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from driver import BLANK, LIMIT_S, Vmctl, blank_disk, ended, interrupted, qemu_processes, small_file_system, wait_for
from integration.test_proofs import execute, qmp
from proofs import prove

_MIB = 1024 * 1024
_FAILED = "vm_manager::qemu::migration_failed"


@dataclass(frozen=True)
class Mover:
    """Two data directories on this host, and a VM in the first one."""

    here: Vmctl
    there: Vmctl

    @property
    def to(self) -> str:
        """What --to is given."""
        return str(self.there.data / "vmctl")

    def states(self) -> tuple[dict[str, str], dict[str, str]]:
        """The VMs here and there, with their states."""
        here, there = (
            {vm["name"]: vm["state"] for vm in vmctl("list", "--json").json["vms"]} for vmctl in (self.here, self.there)
        )
        return here, there

    def qemus(self) -> tuple[int, int]:
        """How many QEMUs there are here and there."""
        return len(qemu_processes(self.here.data)), len(qemu_processes(self.there.data))

    def fill_disk(self, mib: int) -> None:
        """Write to the disk of the VM, which is off: what there is takes a while to copy."""
        overlay = self.here.home("blank") / "overlay.qcow2"
        subprocess.run(["qemu-io", "-c", f"write -q -P 7 1M {mib}M", str(overlay)], check=True)

    def pattern(self, vmctl: Vmctl, mib: int) -> bool:
        """Whether that is on the disk of the VM, as it is below a data directory."""
        overlay = vmctl.home("blank") / "overlay.qcow2"
        argv = ["qemu-io", "-r", "-U", "-c", f"read -q -P 7 1M {mib}M", str(overlay)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return "failed" not in done.stdout

    @contextmanager
    def caught_copying(self) -> Iterator[tuple[int, subprocess.Popen[str]]]:
        """The other QEMU stopped while the disk is copied to it, and the command that waits for it."""
        part = self.there.data / "vmctl" / "vms" / ".preparing-blank" / "overlay.qcow2"
        command = self.here.start("migrate", "blank", "--to", self.to, start_new_session=True)
        # The first clusters, and far from the last.
        while command.poll() is None and not (part.exists() and part.stat().st_blocks * 512 > 2 * _MIB):
            time.sleep(0.0005)
        (qemu,) = qemu_processes(self.there.data)
        os.kill(qemu, signal.SIGSTOP)
        time.sleep(0.3)
        assert command.poll() is None
        assert part.stat().st_blocks * 512 < 200 * _MIB, "it was too fast for this test"
        yield qemu, command


@pytest.fixture
def mover(vmctl: Vmctl, tmp_path: Path) -> Iterator[Mover]:
    """A project with a VM whose disk is empty, and a second data directory."""
    blank_disk(vmctl.directory, "400M")
    vmctl.write(BLANK)
    other = replace(vmctl, data=tmp_path / "there" / "data")
    (other.data / "vmctl").mkdir(parents=True)
    yield Mover(vmctl, other)
    other.destroy_all()


@pytest.fixture
def filled(mover: Mover) -> Mover:
    """The same, running, with 256 MiB on its disk."""
    mover.here("up")
    mover.here("stop", "blank", "--timeout", "0")
    mover.fill_disk(256)
    mover.here("start", "blank")
    return mover


def runs_on_here(mover: Mover) -> None:
    """What every move that failed leaves, and that nothing is in the way of the next."""
    assert mover.states() == ({"blank": "running"}, {})
    assert mover.qemus() == (1, 0)
    assert not (mover.here.home("blank") / "moving-to").exists()
    assert not list((mover.there.data / "vmctl").glob("vms/*"))
    mover.here("migrate", "blank", "--to", mover.to)
    assert mover.states() == ({}, {"blank": "running"})


def test_a_running_vm_moves_with_its_disk_and_nothing_is_left_here(filled: Mover) -> None:
    before = filled.here.record("blank")
    moved = filled.here("migrate", "blank", "--to", f"file://{filled.to}")
    assert moved.stdout.startswith(f"blank: moved to {filled.to}, SSH on 127.0.0.1:")
    assert filled.states() == ({}, {"blank": "running"})
    assert filled.qemus() == (0, 1)
    assert list((filled.here.data / "vmctl" / "vms").iterdir()) == []
    assert filled.pattern(filled.there, 256)
    after = filled.there.record("blank")
    assert {key for key in before if before[key] != after[key]} <= {"backend_data"}
    assert after["backend_data"]["uuid"] == before["backend_data"]["uuid"]
    home = filled.there.home("blank")
    assert [path.name for path in home.iterdir() if path.lstat().st_mode & 0o077 and not path.is_socket()] == []
    assert not (home / "moved-from").exists()
    # It is a VM like any other there, and the way back is the same.
    assert filled.there("suspend", "blank").stdout == "blank: suspended\n"
    assert filled.there("resume", "blank").stdout == "blank: resumed\n"
    assert filled.there("suspend", "--to-disk", "blank").stdout == "blank: saved to disk\n"
    assert filled.there("resume", "blank").stdout == "blank: restored\n"
    back = filled.there("migrate", "blank", "--to", str(filled.here.data / "vmctl"), "--json").json
    assert [(vm["name"], vm["diagnostic"]) for vm in back["vms"]] == [("blank", None)]
    assert filled.states() == ({"blank": "running"}, {})
    stopped = filled.here("stop", "blank", "--timeout", "0")
    assert (stopped.stdout, "cleaning up" in stopped.stderr) == ("blank: stopped\n", False)
    assert "cleaning up" not in filled.here("start", "blank").stderr


def test_what_cannot_be_moved_says_why(mover: Mover) -> None:
    to = ("--to", mover.to)
    assert mover.here("migrate", "blank", *to, status=4).code == "vm_manager::vm::not_found"
    mover.here("up")
    mover.here("stop", "blank", "--timeout", "0")
    refused = mover.here("migrate", "blank", *to, status=5)
    assert "VM 'blank' is stopped; `vmctl migrate` requires a running VM" in refused.stderr
    assert "`vmctl start blank`" in refused.stderr
    mover.here("snapshot", "create", "blank", "one")
    mover.here("start", "blank")
    for wrong in (
        "tcp:127.0.0.1:4444",
        "ssh://other/srv",
        "file://other/srv",
        "/nowhere",
        str(mover.here.data / "vmctl"),
    ):
        assert mover.here("migrate", "blank", "--to", wrong, status=2).code == "vmctl::usage"
    refused = mover.here("migrate", "blank", *to, status=5)
    assert "VM 'blank' has snapshots, which cannot be migrated" in refused.stderr
    mover.here("stop", "blank", "--timeout", "0")
    mover.here("snapshot", "delete", "blank", "one")
    mover.here("start", "blank")
    mover.there("create", "--name", "blank", "--image", "blank.qcow2", "--memory", "32")
    taken = mover.here("migrate", "blank", *to, status=5)
    assert taken.code == "vmctl::create::name_exists"
    assert mover.states() == ({"blank": "running"}, {"blank": "prepared"})
    mover.there("destroy", "blank")
    runs_on_here(mover)


def test_the_other_qemu_killed_while_the_disk_is_copied(filled: Mover) -> None:
    with filled.caught_copying() as (qemu, command):
        looked = filled.here("status", "blank", "--json").json["vm"]
        assert looked["state"] == "running"
        assert filled.there("list", "--json").json["vms"][0]["state"] == "preparing"
        os.kill(qemu, signal.SIGKILL)
        result = ended(command)
    prove(result, _FAILED, evidence="QEMU's reason")
    assert filled.here("status", "blank", "--json").json["vm"]["last_failure"]["code"] == _FAILED
    runs_on_here(filled)


def test_ctrl_c_while_the_disk_is_copied(filled: Mover) -> None:
    with filled.caught_copying() as (_, command):
        result = interrupted(command)
    assert (result.status, result.code) == (130, "vmctl::interrupted")
    runs_on_here(filled)


def test_vmctl_killed_while_the_disk_is_copied_and_the_next_command_settles_it(filled: Mover) -> None:
    with filled.caught_copying() as (qemu, command):
        command.kill()
        command.communicate(timeout=LIMIT_S)
        os.kill(qemu, signal.SIGCONT)
    assert filled.qemus() == (1, 1)
    told = filled.here("resume", "blank")
    assert told.stdout == "blank: already running\n"
    assert f"undid an interrupted move to {filled.to}; the VM is still here" in told.stderr
    runs_on_here(filled)


def test_the_own_qemu_killed_while_the_disk_is_copied(filled: Mover) -> None:
    (own,) = qemu_processes(filled.here.data)
    with filled.caught_copying() as (qemu, command):
        os.kill(own, signal.SIGKILL)
        os.kill(qemu, signal.SIGCONT)
        result = ended(command)
    prove(result, "vm_manager::qemu::exited")
    assert (filled.states(), filled.qemus()) == (({"blank": "stopped"}, {}), (0, 0))
    assert filled.here("start", "blank").stdout == "blank: started\n"
    runs_on_here(filled)


def test_the_other_qemu_refuses_what_comes(mover: Mover, tmp_path: Path) -> None:
    """A QEMU that gives its machine other memory than it was told to: it does not take this one."""
    real, swap = shutil.which("qemu-system-x86_64"), tmp_path / "swap"
    tools = tmp_path / "bin"
    tools.mkdir()
    wrapper = tools / "qemu-system-x86_64"
    wrapper.write_text(
        f'#!/bin/bash\n[ -e "{swap}" ] && exec -a "$0" "{real}" "$@" -m 128M\nexec -a "$0" "{real}" "$@"\n'
    )
    wrapper.chmod(0o755)
    mover.here.env["PATH"] = f"{tools}:{os.environ['PATH']}"
    mover.here("up")
    swap.touch()
    result = mover.here("migrate", "blank", "--to", mover.to, status=7)
    prove(result, _FAILED, evidence="load of migration failed")
    assert "load of migration" not in result.stderr.split("error[")[1].splitlines()[0]
    swap.unlink()
    runs_on_here(mover)


def test_another_command_line_is_refused_before_anything_is_copied(mover: Mover) -> None:
    mover.here("up")
    path = mover.here.home("blank") / "vm.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"spec": json.loads(text)["spec"] | {"cpu": "qemu64"}}))
    prove(mover.here("migrate", "blank", "--to", mover.to, status=7), _FAILED, evidence="would be now: qemu64")
    path.write_text(text)
    runs_on_here(mover)


def test_too_little_space_there_is_found_before_anything_is_copied(filled: Mover) -> None:
    with small_file_system(filled.there.data / "vmctl", "64m"):
        result = filled.here("migrate", "blank", "--to", filled.to, status=6)
        assert "error[vm_manager::host::disk_full]: the VM's disks take 25" in result.stderr
        assert filled.states() == ({"blank": "running"}, {})
    runs_on_here(filled)


def test_the_disk_there_fills_up_while_the_disk_is_copied(filled: Mover) -> None:
    with small_file_system(filled.there.data / "vmctl", "400m"):
        with filled.caught_copying() as (qemu, command):
            fill = filled.there.data / "vmctl" / "fill"
            with fill.open("wb") as file:
                status = os.statvfs(fill)
                os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)
            os.kill(qemu, signal.SIGCONT)
            result = ended(command)
        prove(result, "vm_manager::host::disk_full", evidence="No space left on device")
        assert filled.qemus() == (1, 0)
    runs_on_here(filled)


def test_an_image_of_the_cache_is_in_the_other_cache_too(mover: Mover, http_root: tuple[str, Path]) -> None:
    url, root = http_root
    shutil.copy(mover.here.directory / "blank.qcow2", root / "blank.qcow2")
    mover.here.write(BLANK.replace('image "blank.qcow2"', f'image-url "{url}/blank.qcow2"'))
    mover.here("up")
    mover.here("migrate", "blank", "--to", mover.to)
    mover.here("image", "prune")
    assert mover.here("image", "list", "--json").json["images"] == []
    (image,) = mover.there("image", "list", "--json").json["images"]
    assert (image["used_by"], Path(image["path"]).stat().st_nlink) == (["blank"], 1)
    assert mover.there("restart", "blank", "--timeout", "0").stdout.startswith("blank: stopped, started")


@pytest.fixture
def two_sides(running: Vmctl, tmp_path: Path) -> Iterator[tuple[Vmctl, Vmctl]]:
    """A project with a guest that is up, and the same project with another data directory."""
    there = replace(running, data=tmp_path / "there")
    (there.data / "vmctl").mkdir(parents=True)
    yield running, there
    there.destroy_all()


def test_a_guest_goes_on_and_its_pinned_key_opens_it_there(two_sides: tuple[Vmctl, Vmctl]) -> None:
    here, there = two_sides
    here("ssh", "tiny", "--", "(setsid sh -c 'while :; do echo >>/tmp/ticks; sleep 0.1; done' >/dev/null 2>&1 &)")
    pinned = (here.home("tiny") / "known_hosts").read_bytes()
    assert pinned
    boot_id = here("ssh", "tiny", "--", "cat /proc/sys/kernel/random/boot_id").stdout
    for one, other in ((here, there), (there, here)):
        ticks = int(one("ssh", "tiny", "--", "wc -l </tmp/ticks").stdout)
        one("migrate", "tiny", "--to", str(other.data / "vmctl"))
        assert qemu_processes(one.data) == []
        assert (other.home("tiny") / "known_hosts").read_bytes() == pinned
        assert other("ssh", "tiny", "--", "cat /proc/sys/kernel/random/boot_id").stdout == boot_id
        while int(other("ssh", "tiny", "--", "wc -l </tmp/ticks").stdout) <= ticks:
            time.sleep(0.1)
    assert here("up").stdout == "tiny: already running\n"


def test_a_guest_that_writes_all_the_time_arrives_unharmed(two_sides: tuple[Vmctl, Vmctl]) -> None:
    writing = "dd if=/dev/urandom of=/tmp/a bs=1M count=16; while :; do cat /tmp/a >/tmp/b && echo >>/tmp/rounds; done"
    two_sides[0]("ssh", "tiny", "--", f"(setsid sh -c '{writing}' >/dev/null 2>&1 &)")
    seen = set()
    for one, other in (two_sides, two_sides[::-1]) * 2:
        with qmp(one, "query.sock", "tiny") as session, suppress(ValueError, OSError):
            execute(session, "qmp_capabilities")
            command = one.start("migrate", "tiny", "--to", str(other.data / "vmctl"))
            while True:  # until QEMU ends
                moved, machine = execute(session, "query-migrate"), execute(session, "query-status")
                assert isinstance(moved, dict)
                assert isinstance(machine, dict)
                if moved.get("status") == "active":
                    seen.add(machine["running"])
        assert ended(command).status == 0
        rounds = int(other("ssh", "tiny", "--", "wc -l </tmp/rounds").stdout)
        while int(other("ssh", "tiny", "--", "wc -l </tmp/rounds").stdout) <= rounds:
            time.sleep(0.1)
        assert "Call Trace" not in other("ssh", "tiny", "--", "dmesg").stdout
    assert seen == {False}, "under TCG what is written while memory is moved can be lost"


def test_two_at_once_and_one_of_them_moves_it(filled: Mover) -> None:
    commands = [filled.here.start("migrate", "blank", "--to", filled.to) for _ in range(2)]
    results = sorted((ended(command) for command in commands), key=lambda result: result.status)
    assert [result.status for result in results] in ([0, 5], [0, 4])
    assert filled.states() == ({}, {"blank": "running"})


def test_killed_at_every_step_it_is_on_one_side_and_runs(mover: Mover) -> None:
    mover.here("up")
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "mover_killer.py"),
            str(mover.here.data),
            str(mover.there.data),
        ],
        cwd=mover.here.directory,
        env=mover.here.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == [], "\n".join(result["wrong"])
    assert result["places"] > 30
    assert result["arrived"] > 3, result


def test_a_vm_stopped_there_is_told_apart_from_an_accident(mover: Mover) -> None:
    mover.here("up")
    mover.here("migrate", "blank", "--to", mover.to)
    (qemu,) = qemu_processes(mover.there.data)
    os.kill(qemu, signal.SIGKILL)
    wait_for(lambda: mover.states()[1] == {"blank": "stopped"}, "the end of QEMU")
    assert mover.there("status", "blank", "--json").json["vm"]["last_failure"]["code"] == "vm_manager::qemu::exited"
