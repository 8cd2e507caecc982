"""What a QEMU that its guest has taken over can do to this host, and a qemu-img that reads a hostile image."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from driver import Vmctl, processes_below, qemu_processes
from proofs import prove
from unit.samples import record, spec
from vm_manager.backends.qemu.confinement import qemu_sandbox
from vm_manager.backends.qemu.disks import base_disk
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.diagnostics.errors import BaseChanged
from vm_manager.domain.instance import BaseImage, InstanceRecord
from vm_manager.host.landlock import landlock_version
from vm_manager.host.process import ProcessFailed, run
from vm_manager.host.sandbox import Sandbox, spawn

_WITHOUT = (sys.executable, str(Path(__file__).parents[1] / "without_landlock.py"))
_NO_SANDBOX = "vm_manager::host::no_sandbox"
_LIMIT_S = 60
_DAC_OVERRIDE = 1 << 1

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="the kernel has no Landlock")


@pytest.fixture
def victim(tmp_path: Path) -> tuple[InstanceRecord, QemuFiles, Path]:
    """A VM's record and files, and a secret of the user's beside them."""
    secret, base, files = tmp_path / "secret", tmp_path / "base.qcow2", QemuFiles(tmp_path / "home")
    secret.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\n".ljust(1 << 20, b"\0"))
    files.home.mkdir()
    for file in (files.pid, files.record, files.user_key, *files.machine_logs):
        file.write_text("{}")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "1M"], check=True)
    image = BaseImage(path=str(base), size_bytes=base.stat().st_size, mtime_ns=base.stat().st_mtime_ns)
    return replace(record(spec()), base_image=image), files, secret


def _open_disk(victim: tuple[InstanceRecord, QemuFiles, Path], sandbox: Sandbox | None) -> tuple[int, str]:
    """How a QEMU ends that opens the VM's disk with all that it names, and then quits; and what it says."""
    _, files, _ = victim
    argv = [
        str(shutil.which("qemu-system-x86_64")),
        "-nodefaults",
        "-no-user-config",
        "-machine",
        "none",
        "-monitor",
        "stdio",
    ]
    argv += [
        "-display",
        "none",
        "-blockdev",
        "driver=qcow2,node-name=root,file.driver=file,file.filename=overlay.qcow2",
    ]
    pipe = subprocess.PIPE
    with spawn(argv, sandbox, cwd=files.home, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as qemu:
        _, said = qemu.communicate("quit\n", timeout=_LIMIT_S)
    return qemu.returncode, said


def test_a_disk_that_names_a_file_of_the_users_is_not_opened(
    victim: tuple[InstanceRecord, QemuFiles, Path],
) -> None:
    vm, files, secret = victim
    _overlay(files, "qcow2", Path(vm.base_image.path))
    sandbox = qemu_sandbox(vm, files, ())
    assert _open_disk(victim, sandbox) == (0, "")
    _overlay(files, "raw", secret)
    assert _open_disk(victim, None) == (0, "")
    status, said = _open_disk(victim, qemu_sandbox(vm, files, ()))
    assert (status, f"Could not open '{secret}': Permission denied" in said) == (1, True), said


def test_what_takes_the_place_of_a_base_is_not_opened(victim: tuple[InstanceRecord, QemuFiles, Path]) -> None:
    vm, files, _ = victim
    base = Path(vm.base_image.path)
    _overlay(files, "qcow2", base)
    found = base_disk(vm.base_image)
    assert found.file is not None
    assert _open_disk(victim, qemu_sandbox(vm, files, (), found.file)) == (0, "")
    shutil.copy2(base, base.with_name("other"))
    base.with_name("other").replace(base)
    status, said = _open_disk(victim, qemu_sandbox(vm, files, (), found.file))
    assert (status, f"Could not open '{base}': Permission denied" in said) == (1, True), said


def test_what_took_the_place_of_a_base_after_it_was_checked_is_not_granted(
    victim: tuple[InstanceRecord, QemuFiles, Path],
) -> None:
    vm, _, secret = victim
    base = Path(vm.base_image.path)
    base.unlink()
    base.symlink_to(secret)
    with pytest.raises(BaseChanged):
        base_disk(replace(vm.base_image, format="raw"))


def test_a_base_that_names_files_of_the_users_as_its_extents_is_not_opened(
    victim: tuple[InstanceRecord, QemuFiles, Path],
) -> None:
    vm, files, secret = victim
    base = Path(vm.base_image.path)
    _vmdk(base, secret)
    _overlay(files, "vmdk", base)
    assert _open_disk(victim, None) == (0, "")
    status, said = _open_disk(victim, qemu_sandbox(vm, files, ()))
    assert (status, f"Could not open '{secret}': Permission denied" in said) == (1, True), said


def test_an_image_whose_extents_are_files_of_the_users_cannot_be_looked_at(tmp_path: Path) -> None:
    secret, image = tmp_path / "secret", tmp_path / "disk.vmdk"
    secret.write_bytes(b"key".ljust(1 << 20, b"\0"))
    _vmdk(image, secret)
    # vmctl itself refuses to look at such a one: qemu-img alone, in its sandbox.
    with pytest.raises(ProcessFailed) as caught:
        run(["qemu-img", "info", str(image)], timeout_s=60, sandbox=Sandbox(read=(image,)))
    assert "denied" in str(caught.value.evidence)


def _overlay(files: QemuFiles, format: str, below: Path) -> None:
    files.overlay.unlink(missing_ok=True)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", str(below), str(files.overlay)]
    subprocess.run(argv, check=True)


def _vmdk(path: Path, extent: Path) -> None:
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{extent}" 0\nddb.adapterType = "ide"\n'
    )


# A program in QEMU's place

_ATTEMPTS = r"""
import ctypes, json, os, socket, sys
home, outside, name, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
parent = os.getppid()

def attempt(what):
    try:
        return repr(what())[:200] or "done"
    except OSError as error:
        return error.strerror

def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def connect(family, address):
    with socket.socket(family) as client:
        client.connect(address)

def listen(number):
    with socket.socket() as server:
        server.bind(("127.0.0.1", number))

libc = ctypes.CDLL(None, use_errno=True)
found = {
    "read the secret": attempt(lambda: open(outside + "/secret").read(9)),
    "read /etc/shadow": attempt(lambda: open("/etc/shadow").read(9)),
    "list the home directory": attempt(lambda: os.listdir(os.path.expanduser("~root") if os.geteuid() == 0 else "/home")),
    "list /tmp": attempt(lambda: os.listdir("/tmp")),
    "read the VM's key": attempt(lambda: open(home + "/id_ed25519_generated").read()),
    "rewrite the VM's record": attempt(lambda: open(home + "/vm.json", "w")),
    "put a file that it may write in the record's place": attempt(lambda: os.rename(home + "/console.log", home + "/vm.json")),
    "link the key under another name": attempt(lambda: os.link(home + "/id_ed25519_generated", home + "/seed.iso")),
    "write a new file": attempt(lambda: open(home + "/new", "w")),
    "write outside": attempt(lambda: open(outside + "/new", "w")),
    "make a symbolic link": attempt(lambda: os.symlink(outside + "/secret", home + "/link")),
    "make a hard link": attempt(lambda: os.link(outside + "/secret", home + "/hard")),
    "move a file out": attempt(lambda: os.rename(home + "/console.log", outside + "/console.log")),
    "make a device": attempt(lambda: os.mknod(home + "/disk", 0o60600, os.makedev(8, 0))),
    "write the base": attempt(lambda: open(outside + "/base.qcow2", "r+b")),
    "signal vmctl": attempt(lambda: os.kill(parent, 0)),
    "trace vmctl": attempt(lambda: call(libc.ptrace(16, parent, None, None))),
    "read vmctl's environment": attempt(lambda: open(f"/proc/{parent}/environ").read(9)),
    "read vmctl's memory": attempt(lambda: open(f"/proc/{parent}/mem").read(9)),
    "mount": attempt(lambda: call(libc.mount(b"tmpfs", home.encode(), b"tmpfs", 0, None))),
    "connect to an abstract socket": attempt(lambda: connect(socket.AF_UNIX, "\0" + name)),
    "listen on a port of its choice": attempt(lambda: listen(port)),
    "open a disk of the host": attempt(lambda: open("/dev/sda", "rb")),
}
allowed = {
    "write its log": attempt(lambda: open(home + "/console.log", "a").write("x")),
    "read its base": attempt(lambda: open(outside + "/base.qcow2", "rb").read(3)),
    "listen on any port": attempt(lambda: listen(0)),
    "its environment": sorted(os.environ),
}
json.dump([found, allowed], sys.stdout)
"""
_REFUSED = {"Permission denied", "Operation not permitted", "No such file or directory", "Invalid cross-device link"}


def test_a_program_in_qemus_place_gets_at_nothing_of_the_users(
    victim: tuple[InstanceRecord, QemuFiles, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vm, files, secret = victim
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    name = f"vmctl-test-{files.home}"
    with socket.socket(socket.AF_UNIX) as agent, socket.create_server(("127.0.0.1", 0)) as taken:
        agent.bind(f"\0{name}")
        agent.listen()
        port = taken.getsockname()[1]
        taken.close()
        # The bare interpreter of the system: that of a virtual environment may lie among the user's files.
        argv = ["/usr/bin/python3", "-I", "-S", "-c", _ATTEMPTS, str(files.home), str(secret.parent), name, str(port)]
        pipe = subprocess.PIPE
        with spawn(argv, qemu_sandbox(vm, files, ()), stdout=pipe, stderr=pipe, text=True) as process:
            said, errors = process.communicate(timeout=_LIMIT_S)
    assert errors == ""
    found, allowed = json.loads(said)
    assert {what: how for what, how in found.items() if how not in _REFUSED} == {}
    assert set(allowed.pop("its environment")) <= {"PATH", "LANG", "LANGUAGE", "TZ", "LC_ALL", "LC_CTYPE"}
    assert allowed == {"write its log": "1", "read its base": "b'QFI'", "listen on any port": "None"}
    assert files.record.read_text() == "{}"


# Real VMs


def test_qemu_and_its_keeper_see_nothing_of_the_callers_environment(blank: Vmctl) -> None:
    blank("up", env={"SECRET_TOKEN": "hunter2", "GITHUB_TOKEN": "hunter2", "SSH_AUTH_SOCK": "/tmp/agent"})
    (pid,) = qemu_processes(blank.data)
    assert len(processes_below(blank.home("blank"))) == 2
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(pid) or "log_keeper" in _command_line(process):
            seen = (process / "environ").read_text()
            assert "hunter2" not in seen
            assert "agent" not in seen


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""  # it has ended


def test_a_qemu_can_gain_no_privilege_and_that_of_root_has_one_left(blank: Vmctl) -> None:
    blank("up")
    (pid,) = qemu_processes(blank.data)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert status["NoNewPrivs"] == "1"
    for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(status[name], 16) & ~_DAC_OVERRIDE == 0 or (name, status["Uid"][0] != "0") == ("CapBnd", True)


def test_status_says_which_sandbox_there_is_and_how_it_is_left_out(blank: Vmctl) -> None:
    assert "warning" not in blank("up").stderr
    shown = blank("status", "blank").stdout
    assert "Sandbox:      landlock (version " in shown
    assert ("; as root, with no capability but CAP_DAC_OVERRIDE)" in shown) == (os.geteuid() == 0)
    assert blank("status", "blank", "--json").json["vm"]["sandbox"]["name"] == "landlock"
    blank("restart", "blank", "--timeout", "0", env={"VMCTL_SANDBOX": "off"})
    assert "Sandbox:      none (VMCTL_SANDBOX=off)" in blank("status", "blank").stdout
    assert "invalid VMCTL_SANDBOX: 'of'" in blank("restart", "blank", env={"VMCTL_SANDBOX": "of"}, status=None).stderr


def test_a_host_without_a_sandbox_is_told_once_or_refused_where_one_is_demanded(blank: Vmctl) -> None:
    host = replace(blank, prefix=_WITHOUT)
    prove(
        host("up", env={"VMCTL_SANDBOX": "require"}, status=None),
        "vm_manager::host::no_sandbox",
        evidence="landlock_create_ruleset",
    )
    result = host("up")
    assert result.stderr.count(f"warning[{_NO_SANDBOX}]: ") == 1
    assert "Sandbox:      none (this kernel has no Landlock)" in host("status", "blank").stdout
    # The advice, carried out.
    assert "warning" not in host("restart", "blank", "--timeout", "0", env={"VMCTL_SANDBOX": "off"}).stderr
