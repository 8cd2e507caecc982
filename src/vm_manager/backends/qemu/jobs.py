"""Jobs of QEMU's: started, waited for by their events, and asked for how they ended. Source: QEMU's QAPI, `query-jobs`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from vm_manager.backends.qemu.answers import mapping, mappings
from vm_manager.backends.qemu.evidence import qemu_log, reason
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.monitor import LOOK_EVERY_S, Monitor, NextEvent
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.backends.qemu.process import process_handle, wait_for_exit
from vm_manager.backends.qemu.query import ask, look_up
from vm_manager.backends.qemu.stall import Stall
from vm_manager.diagnostics.errors import QemuExited, QemuJobFailed
from vm_manager.domain.deadline import Deadline

#: Tells that a job has come further.
JOB_EVENT = "JOB_STATUS_CHANGE"
# QEMU demands a letter at the beginning.
_PREFIX = "vmctl-"
_CHECK_EVERY_S = 5.0


def run_job(monitor: Monitor, files: QemuFiles, command: str, arguments: dict[str, object]) -> None:
    """Run a job to its end, which cannot be interrupted, and dismiss it.

    While QEMU works at a snapshot it answers no command, so only its events are listened to, and its process is looked at.
    Raises: `qemu::job_failed`, `qemu::exited`, `qemu::qmp_connect_failed`, `qemu::qmp_command_failed`.
    """
    job = f"{_PREFIX}{secrets.token_hex(4)}"
    with process_handle(files) as handle, monitor.listening(JOB_EVENT) as next_event:
        _dismiss_old(monitor)
        monitor.execute(command, {"job-id": job, **arguments})
        if handle is not None:
            _wait(monitor, files, handle, next_event, job)
    error = next((entry.get("error") for entry in jobs(monitor) if entry["id"] == job), None)
    # Never by itself: its error would be gone before anybody had asked.
    monitor.execute("job-dismiss", {"id": job})
    if error is not None:
        raise QemuJobFailed(
            "QEMU's job `{command}` failed",
            {"command": command},
            evidence=reason(error),
        )


def jobs(monitor: Monitor) -> list[Mapping[str, object]]:
    """QEMU's jobs, as it tells of them; each has an `id`. Raises: `qemu::qmp_command_failed`, `qemu::qmp_connect_failed`."""
    return _with_id(monitor.execute("query-jobs"))


def _with_id(jobs: object) -> list[Mapping[str, object]]:
    return [job for job in mappings(jobs) if "id" in job]


def _dismiss_old(monitor: Monitor) -> None:
    """Dismiss what a killed command has left."""
    for entry in jobs(monitor):
        if str(entry["id"]).startswith(_PREFIX) and entry.get("status") == "concluded":
            monitor.execute("job-dismiss", {"id": entry["id"]})


def _wait(monitor: Monitor, files: QemuFiles, handle: int, next_event: NextEvent, job: str) -> None:
    stall, check = Stall(None, failure=QemuJobFailed), Deadline(_CHECK_EVERY_S)
    # An event that got lost would be waited for in vain: as soon as QEMU answers again, it is asked, too.
    while not (_has_concluded(next_event(LOOK_EVERY_S), job) or _is_concluded(files.home, job)):
        if wait_for_exit(handle, Deadline(0)):
            raise QemuExited("QEMU exited while working on a snapshot", evidence=qemu_log(files))
        if check.expired:
            # Should the event have been lost: a QEMU that answers a reader is not working at a snapshot.
            if ask(files.home) and all(
                entry["id"] != job or entry.get("status") == "concluded" for entry in jobs(monitor)
            ):
                return
            check = Deadline(_CHECK_EVERY_S)
        stall.look(_moved_bytes(files))


def _is_concluded(home: Path, job: str) -> bool:
    jobs = _with_id(look_up(home, "query-jobs"))
    return any(entry["id"] == job and entry.get("status") == "concluded" for entry in jobs)


def _has_concluded(event: Mapping[str, object] | None, job: str) -> bool:
    data = mapping(event and event.get("data"))
    return data.get("id") == job and data.get("status") == "concluded"


def _moved_bytes(files: QemuFiles) -> int:
    """How much QEMU has read and written so far. Source: proc_pid_io(5)."""
    try:
        lines = Path(f"/proc/{lock_owner(files.pid)}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar:", "wchar:")))
