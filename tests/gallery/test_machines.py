"""Machines that are half alive"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from boot_sectors import writing_disk
from driver import BLANK, Result, Vmctl, ended, qemu_processes, small_file_system, wait_for
from first_screen import Gallery

_SILENT = "vm_manager::qemu::qmp_connect_failed"
# PTRACE_ATTACH of ptrace(2) to each thread, and waitpid(2) with __WALL.
_TRACE = """
import ctypes, os, sys, time
libc, pid = ctypes.CDLL(None), int(sys.argv[1])
for thread in os.listdir(f"/proc/{pid}/task"):
    assert libc.ptrace(16, int(thread), None, None) == 0
    os.waitpid(int(thread), 0x40000000)
print("attached", flush=True)
time.sleep(900)
"""


def _qemu(vmctl: Vmctl) -> int:
    (pid,) = qemu_processes(vmctl.data)
    return pid


def _state(vmctl: Vmctl, name: str = "blank") -> str:
    return str(vmctl("status", name, "--json").json["vm"]["state"])


# Stopped by a signal


@pytest.fixture
def stopped(blank: Vmctl) -> Vmctl:
    """A VM whose QEMU was stopped by a signal."""
    blank("up")
    os.kill(_qemu(blank), signal.SIGSTOP)
    return blank


def _shows_stopped(gallery: Gallery, vmctl: Vmctl, result: Result) -> None:
    gallery.shows(
        result,
        _SILENT,
        place=None,
        says=(f"its process {_qemu(vmctl)} is stopped by a signal", "`kill -STOP` does that", "let it run again"),
        never=("Timeout", "already running", "destroy"),
    )
    gallery.fix(vmctl, "kill -CONT")


def test_up_with_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl up`, and QEMU's process was stopped, by `kill -STOP` for example"""
    _shows_stopped(gallery, stopped, stopped("up", status=None))
    gallery.works(stopped("up"))
    assert stopped("list").stdout.splitlines()[1].split()[1] == "running"


def test_the_plan_with_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl plan`, and QEMU's process was stopped"""
    _shows_stopped(gallery, stopped, stopped("plan", status=None))
    gallery.works(stopped("plan"))


def test_resume_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl resume`, and it is not the guest that was suspended but QEMU's process that was stopped"""
    _shows_stopped(gallery, stopped, stopped("resume", "blank", status=None))
    gallery.works(stopped("resume", "blank"))


def test_suspend_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl suspend`, and QEMU's process was stopped"""
    _shows_stopped(gallery, stopped, stopped("suspend", "blank", status=None))
    gallery.works(stopped("suspend", "blank"))


def test_a_snapshot_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl snapshot create`, and QEMU's process was stopped"""
    _shows_stopped(gallery, stopped, stopped("snapshot", "create", "blank", "before", status=None))
    gallery.works(stopped("snapshot", "create", "blank", "before"))


def test_the_console_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl console`, and QEMU's process was stopped"""
    _shows_stopped(gallery, stopped, stopped("console", "blank", status=None))
    gallery.works(stopped("console", "blank"))


def test_ssh_to_a_qemu_that_is_stopped(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh`, and QEMU's process was stopped"""
    os.kill(_qemu(running), signal.SIGSTOP)
    _shows_stopped(gallery, running, running("ssh", "tiny", "--", "true", status=None))
    gallery.works(running("ssh", "tiny", "--", "true"))


def test_status_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl status`, and QEMU's process was stopped"""
    gallery.shows(
        stopped("status", "blank"),
        None,
        place=None,
        says=("State:        failed (its process is stopped by a signal)", "help: let it run again: `kill -CONT"),
        stream="stdout",
    )
    assert stopped("list").stdout.splitlines()[1].split()[1] == "failed!"
    gallery.by_hand("let it run again: `kill -CONT")
    os.kill(_qemu(stopped), signal.SIGCONT)
    gallery.works(stopped("status", "blank"))
    # Nothing has happened to the VM that would have to be told of afterwards.
    assert "Last failure" not in stopped("status", "blank").stdout


def test_stop_of_a_qemu_that_is_stopped(stopped: Vmctl, gallery: Gallery) -> None:
    """`vmctl stop`, and QEMU's process was stopped: it is made to run, so that the guest can shut down"""
    result = stopped("stop", "blank", "--timeout", "1")
    gallery.shows(result, None, place=None, says=("its process was stopped", "blank: stopped"), never=("SIGKILL",))
    gallery.by_hand("SIGCONT")
    gallery.works(stopped("up"))


# Stopped by others


@contextmanager
def _traced(pid: int) -> Iterator[int]:
    """A process that traces another one, as a debugger does; its pid."""
    with subprocess.Popen([sys.executable, "-c", _TRACE, str(pid)], stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout
        assert tracer.stdout.readline() == "attached\n"
        try:
            yield tracer.pid
        finally:
            tracer.kill()


def test_a_qemu_in_a_debugger(blank: Vmctl, gallery: Gallery) -> None:
    """A debugger is attached to QEMU, which stands still in it"""
    blank("up")
    with _traced(_qemu(blank)) as tracer:
        gallery.shows(
            blank("up", status=None),
            _SILENT,
            place=None,
            says=(f"is stopped by process {tracer} (python", "which traces it"),
            never=("kill -CONT", "Timeout"),
        )
        gallery.by_hand("continue or detach from it")
    gallery.works(blank("up"))


def test_stop_of_a_qemu_in_a_debugger(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl stop` of a QEMU in a debugger: the guest cannot be asked to shut down"""
    blank("up")
    with _traced(_qemu(blank)):
        gallery.shows(
            blank("stop", "blank", status=None),
            _SILENT,
            place=None,
            says=("which traces it", "without asking the guest, as by a power cut"),
            never=("SIGKILL",),
        )
        gallery.fix(blank, "stop blank --timeout 0")
    gallery.works(blank("up"))


@contextmanager
def _frozen(pid: int) -> Iterator[Path]:
    """A process in a frozen cgroup of its own; the file that thaws it."""
    freezer = Path("/sys/fs/cgroup/freezer")
    group, control, words = (
        (freezer / f"vmctl-{pid}", "freezer.state", ("FROZEN", "THAWED"))
        if freezer.is_dir()
        else (Path(f"/sys/fs/cgroup/vmctl-{pid}"), "cgroup.freeze", ("1", "0"))
    )
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / control).write_text(words[0])
        yield group / control
    finally:
        (group / control).write_text(words[1])
        (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def test_a_qemu_in_a_frozen_cgroup(blank: Vmctl, gallery: Gallery) -> None:
    """QEMU's cgroup is frozen, as by `docker pause` or `systemctl freeze`"""
    blank("up")
    with _frozen(_qemu(blank)) as control:
        gallery.shows(
            blank("up", status=None),
            _SILENT,
            place=None,
            says=("is frozen with its cgroup", str(control)),
            never=("CONT",),
        )
        gallery.fix(blank, "echo ")
        gallery.works(blank("up"))


def test_destroy_of_a_qemu_in_a_frozen_cgroup(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl destroy`, and QEMU's cgroup is frozen: what cannot be ended keeps its disk"""
    blank("up")
    with _frozen(_qemu(blank)):
        result = blank("destroy", "blank", status=None)
        if result.status == 0:
            pytest.skip("this kernel ends what is frozen")
        gallery.shows(result, _SILENT, place=None, says=("is frozen with its cgroup",))
        assert (blank.home("blank") / "overlay.qcow2").exists()
        gallery.fix(blank, "echo ")
        gallery.works(blank("destroy", "blank"))


# A disk that is full


@pytest.fixture
def full(vmctl: Vmctl, tmp_path: Path) -> Iterator[Vmctl]:
    """A VM that QEMU has paused, since the file system of its disk is full; the file `fill` there can be done without."""
    writing_disk(vmctl.directory / "blank.qcow2")
    vmctl.write(BLANK)
    with _on_small_disk(vmctl, tmp_path / "small", "24m") as small:
        (small.data / "fill").write_bytes(b"\0" * (20 << 20))
        small("up")
        wait_for(lambda: _state(small) == "failed", "the disk to be full")
        yield small


@contextmanager
def _on_small_disk(vmctl: Vmctl, path: Path, size: str) -> Iterator[Vmctl]:
    """The same project with its data on a small file system; no QEMU is left there that would keep it mounted."""
    with small_file_system(path, size) as data:
        small = Vmctl(vmctl.directory, data)
        try:
            yield small
        finally:
            small.destroy_all()


def _shows_full(gallery: Gallery, vmctl: Vmctl, result: Result) -> None:
    gallery.shows(
        result,
        "vm_manager::qemu::io_error",
        place=None,
        says=(
            "the guest is paused: its disk could not be written",
            "MiB were free where the VM's disk is when vmctl looked",
        ),
        never=("already running", "resumed", "destroy"),
    )


def test_up_of_a_guest_that_a_full_disk_has_paused(full: Vmctl, gallery: Gallery) -> None:
    """`vmctl up`, and the guest is paused since the host's disk is full"""
    _shows_full(gallery, full, full("up", status=None))
    gallery.by_hand("free some disk space")
    (full.data / "fill").unlink()
    gallery.fix(full, "vmctl resume blank")
    gallery.works(full("up"))
    assert _state(full) == "running"


def test_resume_of_a_guest_whose_disk_is_still_full(full: Vmctl, gallery: Gallery) -> None:
    """`vmctl resume`, and the host's disk is still full"""
    _shows_full(gallery, full, full("resume", "blank", status=None))
    (full.data / "fill").unlink()
    gallery.fix(full, "vmctl resume blank")
    gallery.works(full("up"))
    assert _state(full) == "running"


def test_start_of_a_guest_whose_disk_is_still_full(full: Vmctl, gallery: Gallery) -> None:
    """`vmctl start`, and the guest is paused since the host's disk is full"""
    _shows_full(gallery, full, full("start", "blank", status=None))
    (full.data / "fill").unlink()
    gallery.fix(full, "vmctl resume blank")
    gallery.works(full("start", "blank"))


def test_suspend_of_a_guest_that_a_full_disk_has_paused(full: Vmctl, gallery: Gallery) -> None:
    """`vmctl suspend`, and the guest is paused since the host's disk is full"""
    _shows_full(gallery, full, full("suspend", "blank", status=None))
    (full.data / "fill").unlink()
    gallery.fix(full, "vmctl resume blank")
    gallery.works(full("suspend", "blank"))


def test_suspend_to_disk_without_the_space(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`vmctl suspend --to-disk`, and the machine's memory does not fit on the disk"""
    with _on_small_disk(blank, tmp_path / "small", "80m") as small:
        small("up")
        (small.data / "fill").write_bytes(b"\0" * (60 << 20))
        gallery.shows(
            small("suspend", "--to-disk", "blank", status=None),
            "vm_manager::host::disk_full",
            place=None,
            says=("the machine's state takes up to", "MiB are free"),
        )
        assert _state(small) == "running"
        gallery.by_hand("free some disk space")
        (small.data / "fill").unlink()
        gallery.works(small("suspend", "--to-disk", "blank"))


# Killed


def test_a_qemu_that_is_killed_while_a_command_waits(blank: Vmctl, gallery: Gallery) -> None:
    """QEMU is killed by SIGKILL while `vmctl up` waits for the guest"""
    blank.write(BLANK.replace("memory 64", 'memory 64\n    ssh { user "root"; }'))
    command = blank.start("up")
    wait_for(lambda: (blank.home("blank") / "events.log").exists() and bool(qemu_processes(blank.data)), "QEMU")
    wait_for(lambda: '"outcome": "ok"' in _journal(blank) and '"start"' in _journal(blank), "the start")
    os.kill(_qemu(blank), signal.SIGKILL)
    gallery.shows(
        ended(command),
        "vm_manager::qemu::exited",
        place=None,
        says=("QEMU was killed by SIGKILL at 20", "leaves no trace"),
    )
    gallery.fix(blank, "vmctl start blank")
    gallery.works(blank("status", "blank"))
    assert _state(blank) == "running"


def _journal(vmctl: Vmctl) -> str:
    return (vmctl.home("blank") / "journal.jsonl").read_text()


def test_a_qemu_that_is_killed_while_nobody_looks(blank: Vmctl, gallery: Gallery) -> None:
    """QEMU was killed by SIGKILL while no command was at work"""
    blank("up")
    os.kill(_qemu(blank), signal.SIGKILL)
    wait_for(lambda: (blank.home("blank") / "end").read_text() != "", "the keeper to see it")
    gallery.shows(
        blank("status", "blank"),
        None,
        place=None,
        says=("State:        stopped", "QEMU vanished at 20", "help: it was killed or crashed", "vmctl start blank"),
        stream="stdout",
    )
    gallery.by_hand("`vmctl start blank` boots the VM again")
    blank("start", "blank")
    gallery.works(blank("status", "blank"))
    assert _state(blank) == "running"
