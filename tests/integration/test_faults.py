"""What goes wrong around vmctl: killed QEMUs, taken locks, damaged records, full disks, sockets that say nothing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driver import (
    BLANK,
    Vmctl,
    as_user,
    blank_disk,
    interrupted,
    is_locked,
    processes_below,
    qemu_processes,
    small_file_system,
    wait_for,
)
from proofs import prove
from vm_manager.backends.qemu.pid_file import lock_owner
from vm_manager.domain.instance import RECORD_SCHEMA

_HEALED = "QEMU exited without cleaning up: removed its pid file and sockets"


def slow_qemu(directory: Path, seconds: float) -> str:
    """A PATH on which QEMU takes its time before it begins."""
    directory.mkdir()
    script = directory / "qemu-system-x86_64"
    script.write_text(f'#!/bin/sh\nsleep {seconds}\nexec /usr/bin/qemu-system-x86_64 "$@"\n')
    script.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def killed_just_after_it_started_qemu(blank: Vmctl, tmp_path: Path) -> None:
    """Leave a QEMU that has not got to its pid file yet, and no vmctl."""
    blank.env["PATH"] = slow_qemu(tmp_path / "bin", 2)
    process = blank.start("up")
    home = blank.home("blank")
    # vmctl locks it before there is a QEMU to inherit it.
    wait_for(lambda: is_locked(home / "life-line") and processes_below(home) != [], "a QEMU with its life line")
    process.kill()
    process.communicate()
    assert lock_owner(blank.home("blank") / "pid") is None


def test_a_qemu_that_a_killed_vmctl_had_just_started_is_waited_for(blank: Vmctl, tmp_path: Path) -> None:
    killed_just_after_it_started_qemu(blank, tmp_path)
    assert blank("up").stdout == "blank: already running\n"
    assert len(qemu_processes(blank.data)) == 1


def test_and_destroy_finds_it_even_without_a_record(blank: Vmctl, tmp_path: Path) -> None:
    killed_just_after_it_started_qemu(blank, tmp_path)
    (blank.home("blank") / "vm.json").write_text("{")
    blank("destroy", "blank")
    time.sleep(3)
    assert qemu_processes(tmp_path) == []


def test_what_a_killed_qemu_left_behind_is_cleared_and_said(blank: Vmctl) -> None:
    blank("up")
    (pid,) = qemu_processes(blank.data)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not qemu_processes(blank.data), "QEMU's end")
    stopped = blank("stop", "blank")
    assert stopped.stdout == "blank: already stopped\n"
    assert _HEALED in stopped.stderr
    assert not {"pid", "qmp.sock", "console.sock"} & {path.name for path in blank.home("blank").iterdir()}
    assert _HEALED not in blank("stop", "blank").stderr


def test_a_pid_that_another_process_has_now_is_never_signalled(blank: Vmctl) -> None:
    blank("up")
    (pid,) = qemu_processes(blank.data)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not qemu_processes(blank.data), "QEMU's end")
    with subprocess.Popen(["sleep", "900"]) as bystander:
        for command in (("stop", "blank", "--timeout", "0"), ("destroy", "blank")):
            if blank.home("blank").exists():
                (blank.home("blank") / "pid").write_text(f"{bystander.pid}\n")
            assert blank("list", "--json").json["vms"][0]["pid"] is None
            blank(*command)
            assert bystander.poll() is None
        bystander.kill()


@contextmanager
def every_lock_held(vmctl: Vmctl) -> Iterator[None]:
    """Hold the locks of all VMs, as a command would."""
    files = [path.open("r+") for path in (vmctl.data / "vmctl" / "locks").glob("*.lock")]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"pid": os.getpid(), "command": "vmctl test"}))
        file.flush()
    yield
    for file in files:
        file.truncate(0)
        file.close()


def test_a_vm_whose_pid_file_was_deleted_is_known_by_its_life_line(blank: Vmctl) -> None:
    blank("up")
    pid = int((blank.home("blank") / "pid").read_text())
    (blank.home("blank") / "pid").unlink()
    assert f"  {pid}  " in blank("list").stdout
    assert blank("up").stdout == "blank: already running\n"
    assert blank("stop", "blank", "--timeout", "0").stdout == "blank: stopped\n"
    assert qemu_processes(blank.data) == []


def test_a_process_of_another_name_place_or_command_line_is_no_stray(blank: Vmctl, tmp_path: Path) -> None:
    gone = blank.data / "vmctl" / "vms" / "blank"
    gone.mkdir(parents=True, mode=0o700)
    program = tmp_path / "qemu-system-x86_64"
    shutil.copy("/bin/sleep", program)
    others = [
        subprocess.Popen(["/bin/sleep", "600"], cwd=gone),
        subprocess.Popen([str(program), "600"], cwd=gone),
        subprocess.Popen([str(program), "600"], cwd=tmp_path),
    ]
    gone.rmdir()
    try:
        assert blank("list").stderr == ""
        assert blank("stop", "blank", status=4).code == "vm_manager::vm::not_found"
        assert [other.poll() for other in others] == [None, None, None]
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_readers_work_while_every_lock_is_held(blank: Vmctl) -> None:
    blank("up")
    with every_lock_held(blank):
        assert blank("list").stdout.splitlines()[1].split()[:2] == ["blank", "running"]
        assert "running" in blank("status", "blank").stdout
        for command in (("stop", "blank"), ("suspend", "blank"), ("destroy", "blank"), ("up",), ("down",), ("reload",)):
            refused = blank(*command, status=5)
            assert refused.code == "vm_manager::state::locked"
            assert f"`vmctl test` (pid {os.getpid()})" in refused.stderr
    assert blank("suspend", "blank").stdout == "blank: suspended\n"


def test_a_record_of_the_first_schema_is_read_and_brought_up_to_date(blank: Vmctl) -> None:
    blank("up")
    record = blank.record("blank")
    old = {**record, "schema": 1, "progress": {k: v for k, v in record["progress"].items() if k != "reached"}}
    (blank.home("blank") / "vm.json").write_text(json.dumps(old))
    assert blank("list", "--json").json["vms"][0]["state"] == "running"
    assert blank.record("blank")["schema"] == 1, "readers write nothing"
    blank("stop", "blank", "--timeout", "0")
    assert blank.record("blank")["schema"] > 1


def _of_schema(record: str, schema: int) -> str:
    return json.dumps({**json.loads(record), "schema": schema})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:100], "is not readable"),
        (lambda text: "", "is not readable"),
        (lambda text: "[" * 100_000, "is not readable"),
        (lambda text: _of_schema(text, RECORD_SCHEMA + 1), "was written by a newer vmctl"),
        (lambda text: text.replace('"name": "blank"', '"name": "other"'), "belongs to another VM"),
        (lambda text: _of_schema(text, 0), "is not readable"),
    ],
)
def test_a_damaged_record_concerns_that_vm_alone(blank: Vmctl, damage: object, says: str) -> None:
    assert callable(damage)
    blank("create", "--name", "whole", "--image", "blank.qcow2", "--memory", "32")
    blank("up")
    record = blank.home("blank") / "vm.json"
    damaged = damage(record.read_text())
    record.write_text(damaged)
    for command in ("start", "suspend", "restart"):
        result = blank(command, "blank", status=14)
        prove(result, "vm_manager::state::corrupt")
        assert says in result.stderr
        assert "destroy" not in result.stderr
        assert "`vmctl stop blank`" in result.stderr
    listed = blank("list", "--json").json
    assert [vm["name"] for vm in listed["vms"]] == ["whole"]
    assert listed["diagnostics"][0]["code"] == "vm_manager::state::corrupt"
    assert record.read_text() == damaged
    assert blank("up", status=14).code == "vm_manager::state::corrupt"
    stopped = blank("stop", "blank", "--timeout", "0")
    assert "warning[vm_manager::state::corrupt]" in stopped.stderr
    assert qemu_processes(blank.data) == []
    assert record.read_text() == damaged
    record.with_name("qemu.log").write_text("said by QEMU\n")
    assert blank("log", "blank", "--qemu").stdout == "said by QEMU\n"
    record.with_name("vm.json.bak").rename(record)
    blank("up")
    assert len(qemu_processes(blank.data)) == 1


def test_several_vms_one_of_which_cannot(blank: Vmctl) -> None:
    blank("create", "--name", "idle", "--image", "blank.qcow2", "--memory", "32")
    blank("up")
    result = blank("suspend", "blank", "idle", status=None)
    prove(result, "vm_manager::vm::invalid_state")
    assert result.stdout == "blank: suspended\nidle: failed\n"
    assert "`vmctl start idle`" in result.stderr
    assert blank("start", "blank", "nobody", status=4).stdout == ""
    assert blank("list", "--json").json["vms"][0]["state"] == "suspended"


def test_a_monitor_that_hangs_is_an_error_and_the_vm_can_still_be_ended(blank: Vmctl) -> None:
    blank("up")
    (pid,) = qemu_processes(blank.data)
    os.kill(pid, signal.SIGSTOP)
    result = blank("suspend", "blank", status=7)
    prove(result, "vm_manager::qemu::qmp_connect_failed")
    assert blank("list", "--json").json["vms"][0]["state"] == "failed"
    ended = blank("stop", "blank", "--timeout", "0")
    assert "SIGCONT" in ended.stderr
    assert qemu_processes(blank.data) == []


def test_a_monitor_that_does_not_listen_yet_is_waited_for(blank: Vmctl) -> None:
    # As when whoever started QEMU was killed before it listened.
    blank("up")
    there, away = blank.home("blank") / "qmp.sock", blank.home("blank") / "away"
    there.rename(away)
    later = threading.Timer(1.0, away.rename, [there])
    later.start()
    assert blank("suspend", "blank").stdout == "blank: suspended\n"
    later.join()


def test_a_monitor_that_is_gone(blank: Vmctl) -> None:
    blank("up")
    (blank.home("blank") / "qmp.sock").unlink()
    assert blank("suspend", "blank", status=7).code == "vm_manager::qemu::qmp_connect_failed"
    ended = blank("stop", "blank", "--timeout", "0")
    assert "SIGTERM" in ended.stderr
    assert qemu_processes(blank.data) == []


def test_a_monitor_that_talks_garbage(blank: Vmctl, monkeypatch: pytest.MonkeyPatch) -> None:
    blank("up")
    monkeypatch.chdir(blank.home("blank"))  # a socket's path may have 108 bytes
    for name in ("qmp.sock", "query.sock"):
        Path(name).unlink()
    with socket.socket(socket.AF_UNIX) as fake, socket.socket(socket.AF_UNIX) as query:
        for server, name in ((fake, "qmp.sock"), (query, "query.sock")):
            server.bind(name)
            server.listen()
        with subprocess.Popen(
            ["python3", "-c", _GARBAGE, str(fake.fileno()), str(query.fileno())],
            pass_fds=[fake.fileno(), query.fileno()],
        ) as speaker:
            assert blank("list", "--json").json["vms"][0]["state"] == "running"
            assert blank("suspend", "blank", status=7).code == "vm_manager::qemu::qmp_connect_failed"
            speaker.kill()
    blank("stop", "blank", "--timeout", "0")
    assert qemu_processes(blank.data) == []


_GARBAGE = """
import socket, sys, threading
def serve(fd):
    server = socket.socket(fileno=fd)
    while True:
        client, _ = server.accept()
        client.sendall(b"\\x00\\xff[[[{]not json\\n" * 100)
for fd in map(int, sys.argv[1:]):
    threading.Thread(target=serve, args=(fd,)).start()
"""


@pytest.mark.parametrize("command", [("stop", "blank"), ("restart", "blank"), ("reload",), ("up",)])
def test_ctrl_c_leaves_a_state_that_the_next_command_understands(blank: Vmctl, command: tuple[str, ...]) -> None:
    blank("up")
    if command == ("up",):
        blank("down", "--destroy")
    # The firmware does not react to the power button, so that stopping takes its 30 s.
    process = blank.start(*command, start_new_session=True)
    if command == ("up",):
        wait_for(lambda: bool(qemu_processes(blank.data)), "QEMU")
    else:
        assert process.stderr
        for line in process.stderr:
            if "power button" in line:
                break
    result = interrupted(process)
    if result.status != 0:  # `up` may have been done already
        prove(result, "vmctl::interrupted")
    assert blank("up").stdout.startswith("blank: ")
    (vm,) = blank("list", "--json").json["vms"]
    assert (vm["state"], [vm["pid"]]) == ("running", qemu_processes(blank.data))
    assert [path.name for path in (blank.data / "vmctl" / "vms").iterdir()] == ["blank"]


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "a/b", "", "-x", ".preparing-x", "x" * 64, "a\nb", "a\0b"[:1] + "\x7f"]
)
def test_a_name_can_never_leave_its_directory(blank: Vmctl, name: str) -> None:
    outside = blank.data / "x"
    outside.mkdir(parents=True)
    for command in ("start", "stop", "destroy", "status", "suspend"):
        assert blank(command, "--", name, status=None).status == 4
    made = blank("create", f"--name={name}", "--image", "blank.qcow2", status=2)
    assert made.code == "vmctl::usage"
    assert outside.is_dir()
    vms = blank.data / "vmctl" / "vms"
    assert not vms.exists() or list(vms.iterdir()) == []


def test_everything_is_private_under_any_umask(blank: Vmctl) -> None:
    before = os.umask(0)
    try:
        blank("create", "--name", "made", "--image", "blank.qcow2", "--memory", "32")
        blank("up")
        blank("suspend", "blank")
    finally:
        os.umask(before)
    root = blank.data / "vmctl"
    wrong = [
        (str(path), stat.filemode(mode))
        for path in (root, *root.rglob("*"))
        if (mode := path.lstat().st_mode) & 0o077 or (stat.S_ISDIR(mode) and mode & 0o700 != 0o700)
    ]
    assert wrong == []


@pytest.fixture
def small_disk(tmp_path: Path, blank: Vmctl) -> Iterator[Path]:
    """A file system of 1 MiB to put a data directory on; what runs there ends before it goes."""
    with small_file_system(tmp_path / "small", "1m") as path:
        yield path
        blank.destroy_all()


def test_a_full_disk_while_a_vm_is_made_leaves_nothing(blank: Vmctl, small_disk: Path) -> None:
    blank.data = small_disk
    (small_disk / "ballast").write_bytes(b"\0" * (1024 * 1024 - 64 * 1024))
    prove(blank("up", status=None), "vm_manager::host::disk_full")
    assert os.listdir(small_disk / "vmctl" / "vms") == []
    (small_disk / "ballast").unlink()
    blank("up")


def test_a_full_disk_while_a_record_is_written_keeps_the_old_one(blank: Vmctl, small_disk: Path) -> None:
    blank.data = small_disk
    blank("up")
    blank("down", "--timeout", "0")
    before = blank.record("blank")
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    result = blank("start", "blank", status=None)
    prove(result, "vm_manager::host::disk_full")
    assert blank.record("blank") == before
    assert qemu_processes(blank.data) == []
    (small_disk / "ballast").unlink()
    blank("start", "blank")
    assert blank("list", "--json").json["vms"][0]["state"] == "running"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_ssh_says_what_openssh_lacks_where_the_user_has_no_name() -> None:
    uid, base = 4242, Path(f"/tmp/vmctl-nameless-{os.getpid()}")  # below the tests' own directories only root may go
    base.mkdir(mode=0o755)
    vmctl = Vmctl.below(base)
    blank_disk(vmctl.directory)
    vmctl.write(BLANK)
    vmctl.data.mkdir()
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(base)], check=True)
    vmctl.prefix = as_user(uid)
    try:
        vmctl("up")
        refused = vmctl("ssh", "blank", "true", status=11)
        assert "OpenSSH does not run for a user without an entry in /etc/passwd (uid 4242)" in refused.stderr
        (advice,) = re.findall(r"help: add one, as root: `([^`]+)`", refused.stderr)
        # Of this host's own users none is added: the advice is followed where /etc/passwd is a copy.
        copy = "cp /etc/passwd passwd && mount --bind passwd /etc/passwd"
        as_nameless = f"setpriv --reuid={uid} --regid={uid} --clear-groups ssh -F none -G blank"
        tried = f"{copy} && ! {as_nameless} && {advice} && {as_nameless}"
        subprocess.run(["unshare", "--mount", "bash", "-c", tried], cwd=base, stdout=subprocess.DEVNULL, check=True)
    finally:
        vmctl.destroy_all()
        shutil.rmtree(base)
