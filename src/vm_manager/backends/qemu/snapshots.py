"""Snapshots inside the disks: with memory by jobs of the running QEMU, of the disks alone by qemu-img."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from vm_manager.backends.qemu.agent import correct_clock
from vm_manager.backends.qemu.answers import mapping, mappings
from vm_manager.backends.qemu.disks import detached_disks, writable_disks
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.jobs import run_job
from vm_manager.backends.qemu.launch import Keep, compose_as_before, launch
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.section import QemuData
from vm_manager.backends.qemu.shutdown import ended_on_failure
from vm_manager.backends.qemu.state_size import require_room
from vm_manager.diagnostics.errors import QemuJobFailed
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.instance import InstanceRecord, Snapshot
from vm_manager.host.disk_space import raise_if_full
from vm_manager.host.process import ProcessFailed
from vm_manager.host.qemu_img import Kept, change_snapshot, kept_snapshots

# The state of memory and devices is kept in the root disk.
_ROOT = "root"


def snapshots(record: InstanceRecord, files: QemuFiles) -> tuple[Snapshot, ...]:
    """What any disk of the VM has a part of, attached or not, oldest first: the others were not attached when it was made."""
    attached = {name: kept_snapshots(path) for name, path in writable_disks(record.spec, files).items()}
    detached = {name: kept_snapshots(path) for name, path in detached_disks(record.spec, files).items()}
    found: dict[str, Kept] = {}
    for disk in (*attached.values(), *detached.values()):
        for kept in disk:
            found.setdefault(kept.tag, kept)
    return tuple(
        Snapshot(
            tag=kept.tag,
            created_at=datetime.fromtimestamp(kept.created_s, UTC).isoformat(timespec="seconds"),
            memory_bytes=kept.memory_bytes,
            without=tuple(name for name, disk in attached.items() if all(it.tag != kept.tag for it in disk)),
            detached=tuple(name for name, disk in detached.items() if any(it.tag == kept.tag for it in disk)),
        )
        for kept in sorted(found.values(), key=lambda kept: kept.created_s)
    )


def create(record: InstanceRecord, files: QemuFiles, tag: str, cancel: CancelToken) -> None:
    """See `Backend.create_snapshot`. A job that has begun is not interrupted: it is short, and half of one would be left."""
    cancel.raise_if_cancelled()
    if lock_owner(files.pid) is None:
        _on_all_disks(record, files, "-c", tag)
        return
    # QEMU does not give back what a snapshot that failed has taken.
    require_room(record, files, files.overlay)
    with Monitor(files.home) as monitor:
        ran = monitor.run_state() == "running"
        try:
            run_job(monitor, files, "snapshot-save", _job(monitor, tag))
        except QemuJobFailed as failure:
            raise_if_full(files.overlay, failure)
            raise
        finally:
            _let_run(monitor, ran)


def restore(record: InstanceRecord, files: QemuFiles, tag: str, cancel: CancelToken, keep: Keep) -> QemuData:
    """See `Backend.restore_snapshot`."""
    with_memory = any(kept.tag == tag and kept.memory_bytes for kept in snapshots(record, files))
    if not with_memory:
        _on_all_disks(record, files, "-a", tag)
        return QemuData.of(record)
    if lock_owner(files.pid) is not None:
        _load(files, tag)
        return QemuData.of(record)
    data = launch(record, files, cancel, keep, composed=compose_as_before(record, files), waiting=("-S",))
    with ended_on_failure(files.home):
        _load(files, tag)
    return data


def delete(record: InstanceRecord, files: QemuFiles, tag: str, cancel: CancelToken) -> None:
    """See `Backend.delete_snapshot`."""
    cancel.raise_if_cancelled()
    closed = tuple(detached_disks(record.spec, files).values())
    if lock_owner(files.pid) is None:
        closed = (*writable_disks(record.spec, files).values(), *closed)
    else:
        with Monitor(files.home) as monitor:
            # It passes over disks that do not have it.
            run_job(monitor, files, "snapshot-delete", {"tag": tag, "devices": _nodes(monitor)})
    having = [path for path in closed for kept in kept_snapshots(path) if kept.tag == tag]
    _on_disks(having, files, "-d", tag)


def _load(files: QemuFiles, tag: str) -> None:
    with Monitor(files.home) as monitor:
        ran = monitor.run_state() == "running"
        try:
            run_job(monitor, files, "snapshot-load", _job(monitor, tag))
        except QemuJobFailed:
            _let_run(monitor, ran)
            raise
        _let_run(monitor, True)
        correct_clock(files.home, monitor)


def _job(monitor: Monitor, tag: str) -> dict[str, object]:
    return {"tag": tag, "vmstate": _ROOT, "devices": _nodes(monitor)}


def _nodes(monitor: Monitor) -> list[str]:
    """The nodes of all writable disks of the machine: one that is left out would silently not be in the snapshot."""
    media = [mapping(disk.get("inserted")) for disk in mappings(monitor.execute("query-block"))]
    return [str(medium["node-name"]) for medium in media if medium and not medium.get("ro")]


def _let_run(monitor: Monitor, wanted: bool) -> None:
    """After a job, be it done or failed, QEMU may have left the vCPUs standing (`restore-vm`, `save-vm`)."""
    if wanted and monitor.run_state() != "running":
        monitor.execute("cont")


def _on_all_disks(record: InstanceRecord, files: QemuFiles, option: str, tag: str) -> None:
    _on_disks(tuple(writable_disks(record.spec, files).values()), files, option, tag)


def _on_disks(paths: Sequence[Path], files: QemuFiles, option: str, tag: str) -> None:
    """Change every disk, or, when one cannot be given a snapshot, none."""
    done = []
    try:
        for path in paths:
            change_snapshot(path, option, tag)
            done.append(path)
    except ProcessFailed as error:
        if option == "-c":
            for path in done:
                change_snapshot(path, "-d", tag)
        failure = QemuJobFailed("qemu-img could not change the snapshots", evidence=(error.evidence,))
        raise_if_full(files.overlay, failure)
        raise failure from error
