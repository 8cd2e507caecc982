"""QEMU without an operating system: SeaBIOS is up in a tenth of a second, enough for everything but guests."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from driver import VMCTL, Result, Vmctl, listening, path_without, qemu_processes
from kvm_hosts import with_device
from proofs import prove, prove_cause

BLANK = 'vm "blank" {\n    image "blank.qcow2"\n    memory 64\n}\n'


@pytest.fixture
def blank(blank: Vmctl) -> Vmctl:
    """The same, with the accelerator that vmctl chooses."""
    blank.write(BLANK)
    return blank


def test_a_vm_that_is_suspended_is_not_waited_for(blank: Vmctl) -> None:
    blank("up")
    blank("suspend", "blank")
    refused = blank("ssh", "blank", "--", "true", status=None)
    prove(refused, "vm_manager::vm::invalid_state", status=refused.status)
    assert "VM 'blank' is suspended; `vmctl ssh` requires a running VM" in refused.stderr
    (advised,) = re.findall("`vmctl (resume .*)`", refused.stderr)
    blank(*advised.split())
    assert "suspended" not in blank("ssh", "blank", "--", "true", status=None).stderr


def test_a_vm_without_ssh_is_up_when_qemu_runs(blank: Vmctl) -> None:
    result = blank("up")
    assert result.stdout == "blank: created, started\n"
    listed = blank("list", "--json").json["vms"][0]
    assert (listed["state"], listed["network"]) == ("running", "user")
    assert qemu_processes(blank.data) == [listed["pid"]]
    assert blank("up").stdout == "blank: already running\n"


def test_down_is_idempotent_and_destroy_leaves_nothing(blank: Vmctl) -> None:
    assert blank("down").stdout == "blank: does not exist\n"
    blank("up")
    assert blank("down", "--timeout", "0").stdout == "blank: stopped\n"
    assert qemu_processes(blank.data) == []
    assert blank("list", "--json").json["vms"][0]["state"] == "stopped"
    assert blank("down").stdout == "blank: already stopped\n"
    assert blank("down", "--destroy").stdout == "blank: destroyed\n"
    assert blank("list", "--json").json["vms"] == []
    assert os.listdir(blank.data / "vmctl" / "vms") == []


def test_a_guest_that_ignores_the_power_button_is_made_to_stop(blank: Vmctl) -> None:
    blank("up")
    result = blank("down", "--timeout", "1")
    assert "power button" in result.stderr
    assert "quit" in result.stderr
    assert qemu_processes(blank.data) == []


def test_files_and_sockets_are_private_under_any_umask(blank: Vmctl) -> None:
    before = os.umask(0)
    try:
        blank("up")
    finally:
        os.umask(before)
    home = blank.home("blank")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    open_to_others = [path.name for path in home.iterdir() if path.lstat().st_mode & 0o077]
    assert open_to_others == []


def test_nothing_listens_beyond_loopback(blank: Vmctl) -> None:
    blank("up")
    pid = blank("list", "--json").json["vms"][0]["pid"]
    addresses = listening(pid)
    assert addresses
    assert {address for address, _ in addresses} == {"127.0.0.1"}


def test_qemu_not_on_path_is_spawn_failed_caused_by_the_missing_tool(blank: Vmctl, tmp_path: Path) -> None:
    result = blank("up", status=7, env={"PATH": path_without("qemu-system-x86_64", tmp_path / "bin")})
    assert result.code == "vm_manager::qemu::spawn_failed"
    prove_cause(result, "vm_manager::host::missing_tool")
    assert "export PATH=" in result.stderr.split("help:")[1]
    assert blank("list", "--quiet").stdout == ""


def test_qemu_img_not_on_path_is_overlay_creation_failed_caused_by_the_missing_tool(
    blank: Vmctl, tmp_path: Path
) -> None:
    result = blank("up", status=8, env={"PATH": path_without("qemu-img", tmp_path / "bin")})
    prove(result, "vm_manager::image::overlay_creation_failed")
    assert "[vm_manager::host::missing_tool]" in result.stderr
    assert "export PATH=" in result.stderr.split("help:")[1]
    assert blank("list", "--quiet").stdout == ""


def test_qemu_img_not_on_path_is_conversion_failed_where_it_converts(blank: Vmctl, tmp_path: Path) -> None:
    path = path_without("qemu-img", tmp_path / "bin")
    result = blank("image", "convert", "blank.qcow2", "new.qcow2", status=8, env={"PATH": path})
    prove(result, "vm_manager::image::conversion_failed")
    assert "[vm_manager::host::missing_tool]" in result.stderr


def test_waiting_for_less_than_the_steps_need_is_refused_before_anything_is_made(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    ssh { user "me" }\n    provision "shell" { inline "true" }'))
    assert blank("up", "--wait", "none", status=2).code == "vmctl::usage"
    assert blank("up", "--wait", "soon", status=2).code == "vmctl::usage"
    assert blank("list", "--quiet").stdout == ""


def test_what_qemu_said_is_the_evidence_when_it_does_not_start(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    cpu "no-such-model"\n    accel "tcg"'))
    result = blank("up", status=7)
    prove(result, "vm_manager::qemu::spawn_failed", evidence="no-such-model")
    assert "exited with 1" in result.stderr
    status = blank("status", "blank", "--json").json["vm"]
    assert status["last_failure"]["code"] == "vm_manager::qemu::spawn_failed"
    assert blank("list").stdout.splitlines()[1].split()[1] == "failed!"
    blank.write(BLANK)
    blank("up")
    assert blank("status", "blank", "--json").json["vm"]["last_failure"] is None


def test_a_kvm_that_opens_but_does_not_work_is_noticed_once_and_replaced_by_tcg(blank: Vmctl) -> None:
    result = blank_kvm(blank, "up")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("warning[vm_manager::host::kvm_unusable]") == 1
    assert blank.record("blank")["backend_data"]["accelerator"] == "tcg"


def test_a_kvm_that_is_demanded_but_does_not_work_is_an_error(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    accel "kvm"'))
    result = blank_kvm(blank, "up")
    shown = Result(result.returncode, result.stdout, result.stderr)
    prove(shown, "vm_manager::host::kvm_unusable", evidence="QEMU")


def blank_kvm(vmctl: Vmctl, *args: str) -> subprocess.CompletedProcess[str]:
    """Run vmctl where /dev/kvm opens but is none: on any host, in a mount namespace of its own."""
    dev = vmctl.data.parent / "dev"
    dev.mkdir()
    return subprocess.run(
        [*with_device(dev, "/dev/null"), str(VMCTL), *args],
        cwd=vmctl.directory,
        # Another cache: what is found out about this broken device must not be remembered for the real one.
        env=vmctl.environment(XDG_CACHE_HOME=str(vmctl.data / "cache")),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_base_image_that_is_none_is_refused(blank: Vmctl) -> None:
    (blank.directory / "blank.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 1000)
    result = blank("up", status=8)
    prove(result, "vm_manager::image::format_detection_failed", evidence="its version is")


def test_an_image_that_names_another_file_is_refused(blank: Vmctl) -> None:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname", "evil.qcow2"],
        cwd=blank.directory,
        check=True,
    )
    blank.write(BLANK.replace("blank.qcow2", "evil.qcow2"))
    result = blank("up", status=8)
    prove(result, "vm_manager::image::refused")
    assert "/etc/hostname" in result.stderr


def test_a_page_that_a_server_sent_instead_of_a_disk_is_refused_and_not_kept(
    blank: Vmctl, http_root: tuple[str, Path]
) -> None:
    base, root = http_root
    (root / "disk.qcow2").write_text("<html>" + "please log in " * 100 + "</html>")
    blank.write(f'vm "blank" {{\n    image-url "{base}/disk.qcow2"\n}}\n')
    assert blank("up", status=8).code == "vm_manager::image::refused"
    shutil.copy(blank.directory / "blank.qcow2", root / "disk.qcow2")
    assert blank("up").stdout == "blank: created, started\n"


def test_two_ups_at_once_do_the_work_once(blank: Vmctl) -> None:
    first, second = blank.start("up"), blank.start("up")
    outcomes = sorted((first.wait(300), second.wait(300)))
    errors = first.communicate()[1] + second.communicate()[1]
    assert outcomes in ([0, 0], [0, 5]), errors
    if outcomes == [0, 5]:
        assert "error[vm_manager::state::locked]: `vmctl up` (pid " in errors
    assert len(qemu_processes(blank.data)) == 1


def test_a_vm_of_another_vmfile_is_not_touched(blank: Vmctl) -> None:
    blank("up")
    other = blank.directory / "elsewhere"
    other.mkdir()
    shutil.copy(blank.directory / "blank.qcow2", other)
    path = blank.write(BLANK, "elsewhere/VMFile.kdl")
    result = blank("down", "--destroy", "--file", str(path), status=5)
    assert result.code == "vm_manager::vm::foreign"
    assert len(qemu_processes(blank.data)) == 1


def test_qemu_killed_behind_our_back_is_a_stopped_vm_that_starts_again(blank: Vmctl) -> None:
    blank("up")
    pid = blank("list", "--json").json["vms"][0]["pid"]
    os.kill(pid, 9)
    wait_until_gone(pid)
    assert blank("list", "--json").json["vms"][0]["state"] == "stopped"
    assert blank("up").stdout == "blank: started\n"


def wait_until_gone(pid: int) -> None:
    """Return when a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


def test_verbose_shows_what_is_run_and_the_talk_with_qemu(blank: Vmctl) -> None:
    assert "-nodefaults" not in blank("down").stderr
    shown = blank("up", "-vv").stderr
    assert "qemu-img create" in shown
    assert "-nodefaults" in shown
    assert "query-status" in shown
    assert "query-status" in blank("down", "--timeout", "1", env={"VMCTL_LOG": "debug"}).stderr


def test_a_deep_data_directory_is_no_trouble_for_sockets(blank: Vmctl) -> None:
    deep = Vmctl(blank.directory, blank.data / ("d" * 60) / ("e" * 60) / ("f" * 60))
    try:
        deep("up")
        assert deep("list", "--json").json["vms"][0]["state"] == "running"
    finally:
        deep.destroy_all()


def test_a_grown_disk_is_as_large_as_asked(blank: Vmctl) -> None:
    blank.write(BLANK.replace("memory 64", 'memory 64\n    disk "64MiB"'))
    blank("up")
    info = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(blank.home("blank") / "overlay.qcow2")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert '"virtual-size": 67108864' in info
