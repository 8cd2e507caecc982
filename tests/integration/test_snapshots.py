"""Snapshots of a guest: memory and disk together, and what QEMU says against one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver import SavedGuest, Vmctl, qemu_processes, small_file_system
from integration.saver import Saver
from integration.test_proofs import execute, qmp
from proofs import prove
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.jobs import run_job
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.diagnostics.errors import QemuJobFailed

_TO_DISK = "printf %-512s {} | dd of=/dev/vda bs=512 seek=130000 oflag=direct 2>/dev/null"
_FROM_DISK = "dd if=/dev/vda bs=512 skip=130000 count=1 iflag=direct 2>/dev/null | tr -d ' '"


@pytest.fixture(scope="module")
def guest(saved_tiny: SavedGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saver]:
    """One guest for all tests here."""
    vmctl = saved_tiny.restore(Vmctl.below(tmp_path_factory.mktemp("snapshots")))
    yield Saver(vmctl)
    vmctl.destroy_all()


@pytest.fixture
def running(guest: Saver) -> Saver:
    """The guest, up."""
    guest.vmctl("up")
    return guest


def tags(guest: Saver) -> list[str]:
    """The tags there are."""
    return [kept["tag"] for kept in guest.vmctl("snapshot", "list", "tiny", "--json").json["snapshots"]]


def test_memory_and_disk_come_back_together_into_a_running_and_into_a_stopped_vm(running: Saver) -> None:
    vmctl = running.vmctl
    running.run(f"echo before >/tmp/memory; {_TO_DISK.format('before')}")
    made = vmctl("snapshot", "create", "tiny", "one")
    assert made.stdout.startswith("tiny: took snapshot one (")
    assert running.vm()["state"] == "running"
    for stopped in (False, True):
        running.run(f"echo after >/tmp/memory; {_TO_DISK.format('after')}")
        assert running.run(_FROM_DISK).startswith("after")
        if stopped:
            vmctl("stop", "tiny")
        assert vmctl("snapshot", "restore", "tiny", "one").stdout == "tiny: restored snapshot one, ready\n"
        assert running.run("cat /tmp/memory") == "before\n"
        assert running.run(_FROM_DISK).startswith("before")
        assert len(qemu_processes(vmctl.data)) == 1
    vmctl("snapshot", "delete", "tiny", "one")
    assert tags(running) == []


def test_a_stopped_vm_keeps_its_disks_alone(running: Saver) -> None:
    vmctl = running.vmctl
    running.run(_TO_DISK.format("before"))
    vmctl("stop", "tiny")
    assert vmctl("snapshot", "create", "tiny", "disks").stdout == "tiny: took snapshot disks (disks only)\n"
    vmctl("start", "tiny")
    running.run(_TO_DISK.format("after"))
    refused = vmctl("snapshot", "restore", "tiny", "disks", status=5)
    assert "has no memory, and the VM is running" in refused.stderr
    vmctl("stop", "tiny")
    assert vmctl("snapshot", "restore", "tiny", "disks").stdout == "tiny: restored snapshot disks\n"
    assert running.vm()["state"] == "stopped"
    vmctl("start", "tiny")
    assert running.run(_FROM_DISK).startswith("before")
    vmctl("snapshot", "delete", "tiny", "disks")
    assert tags(running) == []


def test_the_list_for_people_and_for_programs(running: Saver) -> None:
    vmctl = running.vmctl
    made = vmctl("snapshot", "create", "tiny", "--json").json["vms"][0]
    assert made["outcome"].startswith("took snapshot at-20")
    (kept,) = vmctl("snapshot", "list", "tiny", "--json").json["snapshots"]
    assert kept["vm"] == "tiny"
    assert kept["memory_bytes"] > 2**20
    assert kept["created_at"].endswith("+00:00")
    header, line = vmctl("snapshot", "list", "tiny").stdout.splitlines()
    assert header.split() == ["TAG", "CREATED", "MEMORY"]
    assert line.split()[0] == kept["tag"]
    assert vmctl("snapshot", "create", "tiny", kept["tag"], status=5).code == "vm_manager::vm::invalid_state"
    unknown = vmctl("snapshot", "restore", "tiny", "none", status=5)
    assert "has no snapshot 'none'" in unknown.stderr
    assert vmctl("snapshot", "create", "tiny", "1", status=2).code == "vmctl::usage"
    assert vmctl("snapshot", "list", "tyni", status=4).code == "vm_manager::vm::not_found"
    vmctl("snapshot", "delete", "tiny", kept["tag"])


def test_a_saved_vm_is_neither_kept_nor_taken_back(running: Saver) -> None:
    vmctl = running.vmctl
    vmctl("snapshot", "create", "tiny", "one")
    vmctl("suspend", "--to-disk", "tiny")
    for verb, tag in (("create", "two"), ("restore", "one")):
        refused = vmctl("snapshot", verb, "tiny", tag, status=5)
        assert "`vmctl resume tiny`" in refused.stderr
    vmctl("snapshot", "delete", "tiny", "one")
    assert vmctl("resume", "tiny").stdout == "tiny: restored, ready\n"


def test_a_raw_disk_cannot_be_kept(running: Saver) -> None:
    with qmp(running.vmctl, "query.sock", "tiny") as connection:
        execute(connection, "qmp_capabilities")
        execute(
            connection,
            "blockdev-add",
            **{"driver": "raw", "node-name": "extra", "file": {"driver": "null-co", "size": 2**20}},
        )
        execute(connection, "device_add", driver="scsi-hd", id="extra0", bus="scsi0.0", drive="extra")
    result = running.vmctl("snapshot", "create", "tiny", "one", status=7)
    prove(result, "vm_manager::qemu::job_failed", evidence="is writable but does not support snapshots")
    assert "does not support" not in result.stderr.split("error[")[1].splitlines()[0]
    assert (running.vm()["state"], tags(running)) == ("running", [])
    assert running.run("echo alive") == "alive\n"
    running.vmctl("restart", "tiny")


def test_an_unknown_node_is_qemus_own_reason_and_no_job_is_left(running: Saver) -> None:
    with Monitor(running.home) as monitor:
        with pytest.raises(QemuJobFailed) as caught:
            run_job(
                monitor,
                QemuFiles(running.home),
                "snapshot-save",
                {"tag": "one", "vmstate": "nope", "devices": ["root"]},
            )
        assert monitor.execute("query-jobs") == []
    assert "vmstate block device 'nope' does not exist" in str(caught.value.diagnostic.evidence[0].lines)
    assert "nope" not in caught.value.diagnostic.message
    assert running.vm()["state"] == "running"


def test_a_full_disk_while_keeping(blank: Vmctl, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "600k") as data:
        small = Vmctl(blank.directory, data)
        small("up")
        result = small("snapshot", "create", "blank", "one", status=6)
        assert result.code == "vm_manager::host::disk_full"
        assert "the machine's state takes up to" in result.stderr
        # QEMU would not give back what a snapshot that does not fit has taken.
        assert shutil.disk_usage(data).free > 100 * 1024
        assert small("snapshot", "list", "blank", "--json").json["snapshots"] == []
        assert small("status", "blank", "--json").json["vm"]["state"] == "running"
        small.destroy_all()
