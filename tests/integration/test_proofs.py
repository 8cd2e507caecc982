"""Codes, triggered for real where no other test does so on its way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from broken_guests import SLEEPS, boot_sector
from driver import BLANK, Result, Vmctl, blank_disk, interrupted, listening, qemu_processes, small_file_system, wait_for
from proofs import prove

UNREACHABLE = BLANK.replace("memory 64", 'memory 64\n    ssh { user "root"; }')


@contextmanager
def qmp(vmctl: Vmctl, name: str, vm: str = "blank") -> Iterator[socket.socket]:
    """A QMP session with a VM's QEMU, beside vmctl's own."""
    with socket.socket(socket.AF_UNIX) as connection:
        directory = os.open(vmctl.home(vm), os.O_PATH)
        connection.connect(f"/proc/self/fd/{directory}/{name}")
        os.close(directory)
        connection.makefile().readline()
        yield connection


def execute(connection: socket.socket, command: str, **arguments: object) -> object:
    """Run a QMP command."""
    connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    reader = connection.makefile()
    while "return" not in (answer := json.loads(reader.readline())):
        assert "error" not in answer, answer
    return answer["return"]


def pause(vmctl: Vmctl) -> None:
    """Stop the vCPUs behind vmctl's back."""
    with qmp(vmctl, "query.sock") as connection:
        execute(connection, "qmp_capabilities")
        execute(connection, "stop")


def test_a_monitor_that_somebody_else_holds(blank: Vmctl) -> None:
    blank("up")
    pause(blank)
    with qmp(blank, "qmp.sock"):
        prove(blank("up", status=None), "vm_manager::qemu::qmp_connect_failed")
    assert blank("up").stdout == "blank: resumed\n"


def test_a_monitor_that_refuses(blank: Vmctl) -> None:
    blank("up")
    # Saved away, QEMU gives up its hold on the disk, and cannot go on while another one has it.
    with socket.create_server(("127.0.0.1", 0)) as sink, qmp(blank, "query.sock") as connection:
        execute(connection, "qmp_capabilities")
        execute(connection, "migrate", uri=f"tcp:127.0.0.1:{sink.getsockname()[1]}")
        stream, _ = sink.accept()
        with stream:
            while stream.recv(1 << 20):
                pass
    wait_for(lambda: blank("list", "--json").json["vms"][0]["state"] == "suspended", "the end of the migration")
    holder = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", "-c", "sleep 600000", str(blank.home("blank") / "overlay.qcow2")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: blank("up", status=None).status == 7, "the lock")
        prove(blank("up", status=None), "vm_manager::qemu::qmp_command_failed", evidence="lock")
    finally:
        holder.kill()
        holder.wait()


def holds_lock(pid: int) -> bool:
    """Whether a process has locked a file. To try it with qemu-img would be in its way: that takes a lock, too."""
    with suppress(FileNotFoundError):
        return any("OFDLCK" in file.read_text() for file in Path(f"/proc/{pid}/fdinfo").iterdir())
    return False


def test_a_disk_that_another_process_holds(blank: Vmctl) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    overlay = blank.home("blank") / "overlay.qcow2"
    holder = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", "-c", "sleep 600000", str(overlay)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: holds_lock(holder.pid), "the disk's lock")
        result = blank("up", status=7)
    finally:
        holder.kill()
        holder.wait()
    assert result.code == "vm_manager::qemu::spawn_failed"
    assert f"disk: qemu-io (pid {holder.pid}) has it open" in result.stderr
    assert f"help: stop qemu-io (pid {holder.pid}), which has the disk {overlay} open" in result.stderr


def test_a_vm_without_network_has_no_address(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    network "none"'))
    blank("up")
    prove(blank("ssh", "blank", "--", "true", status=None), "vm_manager::network::ip_discovery_timeout")


def test_a_seed_that_does_not_fit(blank: Vmctl, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "250k") as data:
        blank.write(UNREACHABLE)
        small = Vmctl(blank.directory, data)
        prove(small("up", status=None), "vm_manager::cloudinit::iso_failed")
        assert small("list", "--quiet").stdout == ""


def test_a_guest_whose_sshd_never_answers(blank: Vmctl) -> None:
    blank("up")
    prove(blank("ssh", "blank", status=None), "vm_manager::ssh::failed", evidence="no answer from the guest")


def test_a_key_that_does_not_exist(blank: Vmctl) -> None:
    blank("up")
    prove(blank("ssh", "blank", "--key", "no-such-key", status=None), "vm_manager::ssh::no_key")


def test_an_unknown_vm(blank: Vmctl) -> None:
    blank("up")
    prove(blank("status", "blnak", status=None), "vm_manager::vm::not_found")


def test_a_vm_that_would_have_to_run(blank: Vmctl) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    prove(blank("ssh", "blank", status=None), "vm_manager::vm::invalid_state")


def test_an_unknown_backend(blank: Vmctl) -> None:
    prove(blank("up", "--backend", "qemo", status=None), "vm_manager::backend::not_available")


def test_no_vmfile(vmctl: Vmctl) -> None:
    prove(vmctl("up", status=None), "vm_manager::vmfile::not_found")


def test_a_vmfile_that_is_no_kdl(vmctl: Vmctl) -> None:
    vmctl.write('vm "web" {\n    vcpus 2\n    memory "2GiB\n}\n')
    prove(vmctl("up", status=None), "vm_manager::vmfile::parse_failed")


def test_a_vmfile_that_makes_no_sense(vmctl: Vmctl) -> None:
    vmctl.write('vm "web" {\n    image-url "https://example.org/disk.qcow2"\n    vcpus "four"\n}\n')
    prove(vmctl("up", status=None), "vm_manager::vmfile::validation")


def test_a_file_where_a_directory_should_be(blank: Vmctl) -> None:
    (blank.data / "vmctl").mkdir(parents=True)
    (blank.data / "vmctl" / "vms").write_text("not a directory")
    prove(blank("up", status=None), "vm_manager::io")
    (blank.data / "vmctl" / "vms").unlink()


def test_a_full_disk(blank: Vmctl, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "300k") as data:
        small = Vmctl(blank.directory, data)
        small("up")
        small("down", "--timeout", "0")
        with (data / "fill").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        prove(small("up", status=None), "vm_manager::host::disk_full")
        (data / "fill").unlink()
        assert small("up").stdout == "blank: started\n"
        small.destroy_all()


def test_a_data_directory_that_is_read_only(blank: Vmctl, tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", "1m") as data:
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        prove(Vmctl(blank.directory, data)("up", status=None), "vm_manager::host::permission_denied")


def test_a_mistake_on_the_command_line(vmctl: Vmctl) -> None:
    prove(vmctl("up", "--paralel", "2", status=None), "vmctl::usage")


def test_vms_that_fail_for_different_reasons(blank: Vmctl) -> None:
    (blank.directory / "bad.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 1000)
    bad_cpu = BLANK.replace('accel "tcg"', 'accel "tcg"\n    cpu "no-such-model"')
    blank.write(bad_cpu + BLANK.replace("blank", "bad"))
    result = blank("up", status=None)
    prove(result, "vmctl::partial")
    assert "error[vm_manager::qemu::spawn_failed]" in result.stderr
    assert "error[vm_manager::image::format_detection_failed]" in result.stderr


def test_two_vms_that_fail_for_one_reason_keep_its_status(blank: Vmctl) -> None:
    bad_cpu = BLANK.replace('accel "tcg"', 'accel "tcg"\n    cpu "no-such-model"')
    blank.write(bad_cpu + bad_cpu.replace('"blank"', '"blank2"'))
    assert "error[vmctl::partial]: 2 of 2 VMs failed" in blank("up", status=7).stderr


def test_ctrl_c_and_a_lock_that_is_held(blank: Vmctl) -> None:
    boot_sector(blank.directory / "sleeps.raw", SLEEPS)
    blank.write(UNREACHABLE.replace("blank.qcow2", "sleeps.raw"))
    process = blank.start("up", start_new_session=True)
    wait_for(lambda: len(qemu_processes(blank.data)) == 1, "QEMU")
    prove(blank("down", status=None), "vm_manager::state::locked")
    prove(interrupted(process), "vmctl::interrupted")


def test_a_record_that_was_damaged(blank: Vmctl) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    record = blank.home("blank") / "vm.json"
    record.write_text(record.read_text()[:100])
    prove(blank("status", "blank", status=None), "vm_manager::state::corrupt")


def test_a_vm_of_another_vmfile(blank: Vmctl) -> None:
    blank("up")
    (blank.directory / "other").mkdir()
    path = blank.write(BLANK.replace("blank.qcow2", "../blank.qcow2"), "other/VMFile.kdl")
    prove(blank("down", "--file", str(path), status=None), "vm_manager::vm::foreign")


def test_an_image_that_is_gone(blank: Vmctl, http_root: tuple[str, Path]) -> None:
    base, root = http_root
    (root / "disk.qcow2").write_bytes((blank.directory / "blank.qcow2").read_bytes())
    blank.write(f'vm "blank" {{\n    image-url "{base}/disk.qcow2"\n    accel "tcg"\n}}\n')
    blank("up")
    blank("down", "--timeout", "0")
    Path(blank.record("blank")["base_image"]["path"]).unlink()
    prove(blank("up", status=None), "vm_manager::image::base_missing")


def test_an_image_that_was_replaced(blank: Vmctl) -> None:
    blank("up")
    blank("down", "--timeout", "0")
    blank_disk(blank.directory, "32M")
    prove(blank("up", status=None), "vm_manager::image::base_changed")


def test_a_fault_of_vmctls_own(vmctl: Vmctl) -> None:
    # A command with a fault, beside the real ones.
    script = """
import sys
from vm_manager.cli.main import app, main
from vm_manager.cli.settings import VmctlCommand
@app.command("faulty", cls=VmctlCommand)
def faulty() -> None:
    raise ZeroDivisionError("division by zero")
sys.argv = ["vmctl", "faulty"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=vmctl.environment(), capture_output=True, text=True, check=False
    )
    prove(Result(done.returncode, done.stdout, done.stderr), "vmctl::bug")
    assert "Traceback" not in done.stderr
    (report,) = (vmctl.data / "vmctl" / "crashes").iterdir()
    assert "ZeroDivisionError: division by zero" in report.read_text()


def test_nothing_listens_for_a_vm_without_network(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    network "none"'))
    blank("up")
    assert listening(blank("list", "--json").json["vms"][0]["pid"]) == []


def test_a_directory_that_was_deleted_while_its_vm_was_running(blank: Vmctl) -> None:
    blank("up")
    shutil.rmtree(blank.home("blank"))
    prove(blank("up", status=None), "vm_manager::vm::stray")
    blank("destroy", "blank")


def test_a_limit_on_open_files_that_is_met(blank: Vmctl) -> None:
    blank.prefix = ("bash", "-c", 'ulimit -Sn 10; exec "$@"', "bash")
    prove(blank("up", status=None), "vm_manager::host::exhausted")
    blank.prefix = ()
