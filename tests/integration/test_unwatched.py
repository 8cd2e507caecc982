"""What happens to a VM while no command is at work on it: the next look tells what, and when."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import TinyGuest
from driver import VMCTL, Vmctl, qemu_processes, small_file_system, wait_for
from proofs import prove


def _status(vmctl: Vmctl, name: str) -> Any:
    return vmctl("status", name, "--json").json["vm"]


def _incidents(vmctl: Vmctl, name: str) -> list[Any]:
    lines = (vmctl.home(name) / "journal.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["operation"] == "run"]


def _kill(pid: int, number: signal.Signals) -> None:
    descriptor = os.pidfd_open(pid)
    os.kill(pid, number)
    import select

    assert select.select([descriptor], [], [], 120)[0]
    os.close(descriptor)


def _evidence(failure: Any, kind: str) -> str:
    return "\n".join(line for evidence in failure["evidence"] if evidence["kind"] == kind for line in evidence["lines"])


def test_qemu_killed(blank: Vmctl) -> None:
    before = datetime.now(UTC)
    blank("up")
    _kill(qemu_processes(blank.data)[0], signal.SIGKILL)
    wait_for(lambda: (blank.home("blank") / "end").read_text() != "", "the keeper to see it")
    listed = blank("list")
    assert listed.stdout.splitlines()[1].split()[1] == "stopped!"
    assert listed.stdout.splitlines()[-1] == "! marks a failure: see `vmctl status blank`"
    status = _status(blank, "blank")
    failure = status["last_failure"]
    assert (status["state"], failure["operation"]) == ("stopped", "run")
    assert failure["code"] == "vm_manager::qemu::exited"
    assert failure["message"].startswith("QEMU vanished at 20")
    assert before - timedelta(seconds=5) < datetime.fromisoformat(failure["time"]) < datetime.now(UTC)
    shown = blank("status", "blank").stdout
    assert "Last failure: while running, at " in shown
    assert "QEMU vanished at" in shown
    # However often it is looked at, it is one thing that happened, and said in one way.
    blank("list")
    assert _status(blank, "blank")["last_failure"] == failure
    assert len(_incidents(blank, "blank")) == 1
    assert blank("up").stdout == "blank: started\n"
    assert _status(blank, "blank")["last_failure"] is None


def test_qemu_and_all_that_watched_it_killed(blank: Vmctl) -> None:
    blank("up")
    pid = qemu_processes(blank.data)[0]
    for keeper in _keepers(blank.home("blank")):
        _kill(keeper, signal.SIGKILL)
    _kill(pid, signal.SIGKILL)
    message = _status(blank, "blank")["last_failure"]["message"]
    assert message.startswith("QEMU vanished between 20")


def _keepers(home: Path) -> list[int]:
    """The processes that run beside QEMU in the VM's directory."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and (process / "cwd").readlink() == home:
                found.append(int(process.name))
    return [pid for pid in found if pid not in qemu_processes(home)]


def test_what_nobody_looked_at_before_the_next_command_is_noted_by_that(blank: Vmctl) -> None:
    blank("up")
    _kill(qemu_processes(blank.data)[0], signal.SIGKILL)
    assert blank("up").stdout == "blank: started\n"
    (incident,) = _incidents(blank, "blank")
    assert incident["code"] == "vm_manager::qemu::exited"
    assert _status(blank, "blank")["last_failure"] is None


def test_qemu_ended_by_a_signal_that_it_could_log(blank: Vmctl) -> None:
    blank("up")
    _kill(qemu_processes(blank.data)[0], signal.SIGTERM)
    failure = _status(blank, "blank")["last_failure"]
    assert failure["message"] == "QEMU was killed by a signal"
    assert f"terminating on signal 15 from pid {os.getpid()}" in _evidence(failure, "qemu_log")
    assert "terminating on signal 15" in blank("status", "blank").stdout


def test_an_end_that_a_command_wanted_is_no_failure(blank: Vmctl) -> None:
    for forced in (("down", "--timeout", "0"), ("stop", "blank", "--timeout", "0")):
        blank("up")
        blank(*forced)
        assert _status(blank, "blank")["last_failure"] is None
    blank("up")
    # Nobody listens, so that it is made to end by signals; who looks meanwhile sees no accident.
    (blank.home("blank") / "qmp.sock").unlink()
    stopping = blank.start("stop", "blank", "--timeout", "0")
    while stopping.poll() is None:
        assert _status(blank, "blank")["last_failure"] is None
    assert stopping.communicate()[1].count("error[") == 0
    assert qemu_processes(blank.data) == []
    assert _status(blank, "blank")["last_failure"] is None
    assert _incidents(blank, "blank") == []


def test_a_data_directory_that_cannot_be_written_hides_nothing(blank: Vmctl, tmp_path: Path) -> None:
    with _on_small_disk(blank, tmp_path / "small", "16m") as small:
        small("up")
        _kill(qemu_processes(small.data)[0], signal.SIGKILL)
        remount = ["mount", str(small.data), "-o"]
        wait_for(lambda: subprocess.run([*remount, "remount,ro"]).returncode == 0, "the keeper's end")
        try:
            assert _status(small, "blank")["last_failure"]["code"] == "vm_manager::qemu::exited"
        finally:
            subprocess.run([*remount, "remount,rw"], check=True)
        assert _incidents(small, "blank") == []


def test_the_kernel_killing_qemu_for_lack_of_memory(blank: Vmctl) -> None:
    with _memory_group() as group:
        script = f'echo $$ >{group}/cgroup.procs && exec "$@"'
        subprocess.run(
            ["sh", "-c", script, "sh", str(VMCTL), "up"],
            cwd=blank.directory,
            env=blank.environment(),
            check=True,
            capture_output=True,
        )
        (pid,) = qemu_processes(blank.data)
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")  # the first to be taken
        greedy = subprocess.Popen(
            ["sh", "-c", script, "sh", sys.executable, "-c", "kept = []\nwhile True: kept.append(b'x' * (1 << 20))"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: qemu_processes(blank.data) == [], "the kernel to kill QEMU")
        finally:
            greedy.kill()
            greedy.wait()
    failure = _status(blank, "blank")["last_failure"]
    assert failure["message"] == "the kernel killed QEMU because memory ran out"
    assert "out of memory: Killed process" in _evidence(failure, "kernel_log")


@contextmanager
def _memory_group() -> Iterator[Path]:
    """A control group that may use so much memory and no more."""
    group = _new_group()
    if group is None:
        pytest.skip("this host lacks a memory control group that may be divided")
    try:
        yield group
    finally:
        wait_for(lambda: (group / "cgroup.procs").read_text() == "", "the group to be empty")
        group.rmdir()


def _new_group() -> Path | None:
    """In the first or the second version of control groups."""
    for parent, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / parent / f"vmctl-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            (group / limit).write_text(str(400 << 20))
            return group
    return None


@contextmanager
def _on_small_disk(vmctl: Vmctl, path: Path, size: str) -> Iterator[Vmctl]:
    """The same project with its VMs on a file system of that size."""
    with small_file_system(path, size):
        small = Vmctl(vmctl.directory, path)
        try:
            yield small
        finally:
            (path / "fill").unlink(missing_ok=True)
            small.destroy_all()


# With a guest


def test_a_guest_that_panics(running: Vmctl) -> None:
    before = datetime.now(UTC)
    running("ssh", "--", "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    wait_for(lambda: _status(running, "tiny")["state"] == "failed", "the panic")
    assert running("list").stdout.splitlines()[1].split()[1] == "failed!"
    status = _status(running, "tiny")
    failure = status["last_failure"]
    assert (status["detail"], failure["code"]) == ("guest-panicked", "vm_manager::guest::panicked")
    assert "Kernel panic - not syncing: sysrq triggered crash" in _evidence(failure, "console")
    assert before - timedelta(seconds=5) < datetime.fromisoformat(failure["time"]) < datetime.now(UTC)
    assert "`vmctl restart tiny`" in failure["help"][0]
    assert "| " in running("status", "tiny").stdout
    assert re.search("Ready: +no$", running("status", "tiny").stdout, re.MULTILINE)
    _nothing_works(running, "vm_manager::guest::panicked")
    assert running("resume", "tiny", status=10).code == "vm_manager::guest::panicked"
    assert running("restart", "tiny").stdout == "tiny: stopped, started, ready\n"
    assert _status(running, "tiny")["last_failure"] is None
    assert len(_incidents(running, "tiny")) == 1

    # One that powers itself off has done nothing wrong, but is not taken for one that vmctl stopped.
    running("ssh", "--", "(sleep 1; poweroff -f) >/dev/null 2>&1 &")
    wait_for(lambda: _status(running, "tiny")["state"] == "stopped", "the end")
    status = _status(running, "tiny")
    assert status["last_failure"] is None
    assert status["detail"].startswith("the guest powered itself off at 20")
    assert "State:        stopped (the guest powered itself off at " in running("status", "tiny").stdout
    assert running("list").stdout.splitlines()[1].split()[1] == "stopped"


_WRITE = (
    "i=0; while [ $i -lt 12 ]; do dd if=/root/noise of=/dev/vda bs=1M seek=$((40 + i)) conv=fsync; i=$((i + 1)); done"
)


def test_a_disk_that_fills_up_stops_the_guest_and_more_space_lets_it_go_on_unharmed(
    vmctl: Vmctl, tiny: TinyGuest, tmp_path: Path
) -> None:
    with _on_small_disk(vmctl, tmp_path / "small", "64m") as small:
        data = small.data
        small.write(tiny.vm())
        small("up")
        small("ssh", "--", "head -c 1048576 /dev/urandom >/root/noise")
        _fill(data, leaving=3 << 20)
        small("ssh", "--", f"({_WRITE}; echo done >/root/done) >/dev/null 2>&1 &")
        wait_for(lambda: _status(small, "tiny")["state"] == "failed", "the full disk")
        assert small("list").stdout.splitlines()[1].split()[1] == "failed!"
        status = _status(small, "tiny")
        failure = status["last_failure"]
        assert (status["detail"], failure["code"]) == ("io-error", "vm_manager::qemu::io_error")
        assert "MiB were free where the VM's disk is" in _evidence(failure, "probe")
        assert "`vmctl resume tiny`" in failure["help"][0]
        _nothing_works(small, "vm_manager::qemu::io_error")
        assert small("suspend", "tiny", status=7).code == "vm_manager::qemu::io_error"

        (data / "fill").unlink()
        assert "resumed" in small("resume", "tiny").stdout
        assert _status(small, "tiny")["last_failure"] is None
        assert _status(small, "tiny")["state"] == "running"
        wait_for(lambda: small("ssh", "--", "cat /root/done", status=None).stdout == "done\n", "the rest")
        check = "i=0; while [ $i -lt 12 ]; do dd if=/dev/vda bs=1M count=1 skip=$((40 + i)) 2>/dev/null |"
        check += " cmp - /root/noise || exit 1; i=$((i + 1)); done; echo same"
        assert small("ssh", "--", f"echo 3 >/proc/sys/vm/drop_caches; {check}").stdout == "same\n"

        # And told at once to whoever waits for the guest meanwhile.
        _fill(data, leaving=1 << 20)
        again = _WRITE.replace("40", "20")
        small.write(tiny.vm(body=f'provision "shell" {{ inline "cd /; {again}; sleep 600"; }}'))
        result = small("provision", status=None)
        prove(result, "vm_manager::qemu::io_error", evidence="MiB were free")


def _nothing_works(vmctl: Vmctl, code: str) -> None:
    """A machine that an error has stopped is neither running nor ready, whichever command is asked."""
    assert _status(vmctl, "tiny")["ready"] is False
    for command in (("up",), ("plan",), ("provision",), ("ssh", "tiny", "--", "true")):
        assert (vmctl(*command, status=None).code, command) == (code, command)
    (outcome,) = vmctl("up", "--json", status=None).json["vms"]
    assert outcome["diagnostic"]["code"] == code


def _fill(data: Path, *, leaving: int) -> None:
    free = os.statvfs(data)
    with (data / "fill").open("wb", buffering=0) as file, suppress(OSError):
        for _ in range(max(0, free.f_bavail * free.f_frsize - leaving) // 65536):
            file.write(b"\0" * 65536)
