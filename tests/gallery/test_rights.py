"""Rights, places and limits of the host"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from driver import BLANK, Vmctl, as_user, blank_disk
from first_screen import Gallery

_DENIED = "vm_manager::host::permission_denied"
_EXHAUSTED = "vm_manager::host::exhausted"
_UNAVAILABLE = "vm_manager::network::port_unavailable"
_UNTRUSTED = "vm_manager::state::untrusted"
_IO = "vm_manager::io"
_NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user, and mount")


@pytest.fixture
def nobody() -> Iterator[Vmctl]:
    """The project and the home directory of a user who is not root."""
    base = Path(f"/tmp/vmctl-nobody-{os.getpid()}")  # below the tests' own directories only root may go
    base.mkdir(mode=0o755)
    vmctl = Vmctl.below(base)
    vmctl.env["HOME"] = str(base)
    blank_disk(vmctl.directory)
    vmctl.write(BLANK)
    vmctl.data.mkdir()
    _own(base, _NOBODY)
    vmctl.prefix = as_user(_NOBODY)
    try:
        yield vmctl
        _own(base, _NOBODY)
        vmctl.destroy_all()
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _own(path: Path, uid: int) -> None:
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(path)], check=True)


def _in_shell(vmctl: Vmctl, line: str) -> Vmctl:
    """The same, each command behind a line of a shell."""
    return replace(vmctl, prefix=(*vmctl.prefix, "bash", "-c", f'{line}; exec "$@"', "bash"))


def _in_mounts(vmctl: Vmctl, line: str) -> Vmctl:
    """The same, each command in a mount namespace that a line of a shell changes."""
    return replace(vmctl, prefix=("unshare", "--mount", "bash", "-c", f'{line}; exec "$@"', "bash"))


# Whose files


def test_a_data_directory_of_root(nobody: Vmctl, gallery: Gallery) -> None:
    """The data directory belongs to root, as after a command with sudo."""
    nobody("up", "--backend", "noop")
    _own(nobody.data / "vmctl", 0)
    for command in (("up",), ("status", "blank"), ("down",), ("stop", "blank"), ("image", "list"), ("image", "prune")):
        assert nobody(*command, status=14).code == _UNTRUSTED
    gallery.shows(
        nobody("list", status=None),
        _UNTRUSTED,
        place=None,
        says=("belongs to root", "a command run with sudo created it", "makes it yours"),
        never=("bug",),
    )
    gallery.by_hand(f"`sudo chown -R {_NOBODY}: {nobody.data}/vmctl`")
    _own(nobody.data / "vmctl", _NOBODY)
    gallery.works(nobody("list"))


def test_one_vm_of_root(nobody: Vmctl, gallery: Gallery) -> None:
    """One VM belongs to root, and VMs are listed."""
    nobody("up", "--backend", "noop")
    _own(nobody.home("blank"), 0)
    for command in (("up",), ("status", "blank"), ("down",), ("log", "blank"), ("image", "prune")):
        assert nobody(*command, status=14).code == _UNTRUSTED
    assert nobody("list", "--quiet").stdout == "blank\n"
    gallery.shows(
        nobody("list"),
        None,
        place=None,
        says=("warning[vm_manager::state::untrusted]", "belongs to root", "makes it yours"),
        never=("no VM of vmctl's", "bug"),
    )
    gallery.by_hand(f"`sudo chown -R {_NOBODY}: {nobody.home('blank')}`")
    _own(nobody.home("blank"), _NOBODY)
    gallery.works(nobody("down"))


def test_a_way_to_the_data_directory_that_is_closed(nobody: Vmctl, gallery: Gallery) -> None:
    """A directory above the data directory may not be entered."""
    closed = nobody.data.parent / "closed"
    closed.mkdir(mode=0o700)
    there = replace(nobody, data=closed / "data", env={**nobody.env, "XDG_CACHE_HOME": str(closed)})
    gallery.shows(
        there("up", status=None),
        _DENIED,
        place=None,
        says=("access to", f"`ls -ld {closed}` shows them"),
        never=("bug",),
    )
    gallery.fix(replace(nobody, prefix=()), "ls -ld")
    _own(closed, _NOBODY)
    gallery.works(there("up", "--backend", "noop"))
    there("destroy", "blank")


def test_a_home_directory_that_may_not_be_written(nobody: Vmctl, gallery: Gallery) -> None:
    """The home directory belongs to root."""
    home = nobody.data.parent / "home"
    home.mkdir(mode=0o755)
    there = replace(nobody, data=home / ".local/share")
    gallery.shows(there("up", status=None), _DENIED, place=None, says=("access to", f"`ls -ld {home}`"), never=("bug",))
    gallery.fix(replace(nobody, prefix=()), "ls -ld")
    _own(home, _NOBODY)
    gallery.works(there("up", "--backend", "noop"))
    there("destroy", "blank")


def test_a_user_without_a_home_directory(nobody: Vmctl, gallery: Gallery) -> None:
    """The user has no entry in /etc/passwd, and HOME is not set, as in many containers."""
    uid = 4242
    shutil.rmtree(f"/var/tmp/vmctl-{uid}", ignore_errors=True)
    _own(nobody.directory, uid)
    bare = replace(nobody, prefix=(*as_user(uid), "env", "-u", "HOME", "-u", "XDG_DATA_HOME", "-u", "XDG_CACHE_HOME"))
    gallery.shows(
        bare("up", status=None),
        _IO,
        place=None,
        says=("there is no home directory", "HOME is not set", f"user {uid} is not in /etc/passwd"),
        never=("bug", "Traceback"),
    )
    gallery.by_hand(f"`mkdir -m 700 /var/tmp/vmctl-{uid}`, then `export HOME=/var/tmp/vmctl-{uid}`")
    there = _in_shell(bare, f"mkdir -m 700 /var/tmp/vmctl-{uid}; export HOME=/var/tmp/vmctl-{uid}")
    gallery.works(there("up", "--backend", "noop"))
    there("destroy", "blank")
    shutil.rmtree(f"/var/tmp/vmctl-{uid}")


def test_a_qemu_that_another_user_runs(nobody: Vmctl, gallery: Gallery) -> None:
    """`sudo -E vmctl up`, and then the files are given back to their owner: QEMU still runs as root."""
    root = replace(nobody, prefix=())
    _own(nobody.data.parent, 0)
    root("up")
    _own(nobody.data.parent, _NOBODY)
    gallery.shows(
        nobody("destroy", "blank", status=None),
        _DENIED,
        place=None,
        says=("runs as root: nobody may not stop it",),
        never=("bug", "a file"),
    )
    gallery.fix(root, "kill")
    gallery.works(nobody("destroy", "blank"))


# Places


def test_a_data_directory_on_a_read_only_file_system(blank: Vmctl, gallery: Gallery) -> None:
    """The file system of the data directory is mounted read-only."""
    blank("up", "--backend", "noop")
    data = shlex.quote(str(blank.data))
    bind = f"mount --bind {data} {data}; mount -o remount,ro,bind {data}"
    gallery.shows(
        _in_mounts(blank, bind)("down", status=None),
        _DENIED,
        place=None,
        says=("is on a read-only file system", f"`mount -o remount,rw {blank.data}`"),
        never=("bug", "permissions", "rights"),
    )
    gallery.by_hand("mount -o remount,rw")
    gallery.works(_in_mounts(blank, f"{bind}; mount -o remount,rw {data}")("down"))


def test_a_project_whose_name_is_not_utf8(vmctl: Vmctl, gallery: Gallery) -> None:
    """The name of the project's directory is not UTF-8, but Latin-1 from another time."""
    old = os.fsdecode(os.fsencode(vmctl.directory.parent) + b"/caf\xe9")
    os.mkdir(old)
    there = replace(vmctl, directory=Path(old))
    blank_disk(there.directory)
    there.write(BLANK)
    gallery.shows(
        there("up", status=None), _IO, place=None, says=("caf\\xe9", "is not valid UTF-8", "rename it"), never=("bug",)
    )
    gallery.fix(vmctl, "mv ")
    gallery.works(replace(vmctl, directory=vmctl.directory.parent / "caf_")("up"))


def test_a_data_directory_below_a_file(blank: Vmctl, gallery: Gallery) -> None:
    """XDG_DATA_HOME names a file."""
    file = blank.directory / "data"
    file.write_text("")
    there = replace(blank, data=file)
    gallery.shows(
        there("up", status=None),
        _IO,
        place=None,
        says=(f"{file} is not a directory", "move that file away"),
        never=("bug",),
    )
    gallery.fix(blank, "mv ")
    gallery.works(there("up", "--backend", "noop"))
    there("destroy", "blank")


def test_a_data_directory_with_too_long_a_name(blank: Vmctl, gallery: Gallery) -> None:
    """XDG_DATA_HOME names a directory whose name is too long."""
    there = replace(blank, data=blank.directory / ("long" * 70))
    gallery.shows(
        there("up", status=None),
        _IO,
        place=None,
        says=("is too long", "255 bytes", "use a shorter one"),
        never=("bug",),
    )
    gallery.by_hand("use a shorter one; XDG_DATA_HOME says where")
    gallery.works(blank("up"))


def test_a_working_directory_that_was_deleted(blank: Vmctl, gallery: Gallery) -> None:
    """The working directory was deleted, and an image is converted."""
    gone = _in_shell(blank, "mkdir gone; cd gone; rmdir ../gone")
    gallery.shows(
        gone("image", "convert", "blank.qcow2", "new.raw", status=None),
        _IO,
        place=None,
        says=("the working directory no longer exists", "change to another directory"),
        never=("bug",),
    )
    gallery.by_hand("change to another directory")
    gallery.works(blank("image", "convert", "blank.qcow2", "new.raw"))


# Limits


def test_a_limit_on_open_files(blank: Vmctl, gallery: Gallery) -> None:
    """The shell allows ten open files."""
    gallery.shows(
        _in_shell(blank, "ulimit -Sn 10")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("too many open files: this process may have 10", "ulimit -n 1024"),
        never=("bug",),
    )
    gallery.by_hand("`ulimit -n 1024`")
    gallery.works(_in_shell(blank, "ulimit -Sn 10; ulimit -n 1024")("up"))


def test_a_limit_on_open_files_that_qemu_meets(blank: Vmctl, gallery: Gallery) -> None:
    """The shell allows 24 open files: enough for vmctl, and for QEMU only as long as nobody connects to the guest."""
    gallery.shows(
        _in_shell(blank, "ulimit -Sn 24")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("QEMU needs at least 64 open files", "a process in this shell may have 24"),
        never=("bug",),
    )
    gallery.by_hand("`ulimit -n 1024`")
    gallery.works(_in_shell(blank, "ulimit -Sn 24; ulimit -n 1024")("up"))


def test_a_limit_that_a_shell_may_not_raise(nobody: Vmctl, gallery: Gallery) -> None:
    """The shell of a user who is not root allows 24 open files, and may not raise that."""
    gallery.shows(
        _in_shell(nobody, "ulimit -n 24")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("raise the limit where it is set, or as root: `ulimit -n 1024`; this shell may not raise it",),
        never=("in this shell:",),
    )
    gallery.by_hand("where it is set")
    gallery.works(nobody("up"))


def test_a_limit_on_the_size_of_files(blank: Vmctl, gallery: Gallery) -> None:
    """The shell allows files of 100 KiB."""
    gallery.shows(
        _in_shell(blank, "ulimit -Sf 100")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("a file may have 102400 bytes in this shell",),
        never=("permissions",),
    )
    gallery.by_hand("`ulimit -f unlimited`")
    gallery.works(_in_shell(blank, "ulimit -Sf 100; ulimit -f unlimited")("up"))


def test_a_limit_on_memory_that_qemu_meets(blank: Vmctl, gallery: Gallery) -> None:
    """The shell allows less memory than QEMU takes."""
    blank.write(BLANK.replace("memory 64", "memory 2048"))
    gallery.shows(
        _in_shell(blank, "ulimit -Sv 1000000")("up", status=None),
        "vm_manager::qemu::spawn_failed",
        place=None,
        says=("raise the limit in this shell: `ulimit -v unlimited`",),
        never=("bug",),
    )
    gallery.by_hand("`ulimit -v unlimited`")
    gallery.works(_in_shell(blank, "ulimit -Sv 1000000; ulimit -v unlimited")("up"))


def test_a_limit_on_memory(blank: Vmctl, gallery: Gallery) -> None:
    """The shell allows less memory than vmctl takes."""
    gallery.shows(
        _in_shell(blank, "ulimit -Sv 60000")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("not enough memory: this process may have 58 MiB", "ulimit -v unlimited"),
        never=("bug",),
    )
    gallery.by_hand("`ulimit -v unlimited`")
    gallery.works(_in_shell(blank, "ulimit -Sv 60000; ulimit -v unlimited")("up"))


def test_a_limit_on_processes(nobody: Vmctl, gallery: Gallery) -> None:
    """The user may start no more processes or threads."""
    gallery.shows(
        _in_shell(nobody, "ulimit -Su 1")("up", status=None),
        _EXHAUSTED,
        place=None,
        says=("no more processes or threads can be started", "see `ulimit -u`"),
        never=("bug",),
    )
    gallery.by_hand("or allow more: see `ulimit -u`")
    gallery.works(_in_shell(nobody, 'all=$(ulimit -Hu); ulimit -Su 1; ulimit -Su "$all"')("up"))


# /dev/kvm


def test_a_kvm_of_root_alone(nobody: Vmctl, gallery: Gallery) -> None:
    """/dev/kvm belongs to root alone, the group kvm does not exist, and the VM demands KVM."""
    nobody.write(BLANK.replace('"tcg"', '"kvm"'))
    hide = "mknod -m 600 /run/kvm c 10 232; touch /dev/kvm; mount --bind /run/kvm /dev/kvm; rm /run/kvm"
    group = "grep -v ^kvm: /etc/group >/run/group; mount --bind /run/group /etc/group; rm /run/group"
    there = replace(
        nobody, prefix=("unshare", "--mount", "bash", "-c", f'{hide}; {group}; exec "$@"', "bash", *nobody.prefix)
    )
    gallery.shows(
        there("up", status=None),
        "vm_manager::host::kvm_unusable",
        place=None,
        says=("`sudo groupadd --system kvm`, `sudo chgrp kvm /dev/kvm`", "`sudo chmod 660 /dev/kvm`"),
        never=("bug",),
    )
    gallery.by_hand("pass `--accel tcg`")  # this host may have no KVM that works
    gallery.works(there("up", "--accel", "tcg"))


# Ports


def _with_forward(vmctl: Vmctl, forward: str) -> Vmctl:
    vmctl.write(BLANK.replace("}\n", f'    network "user" {{ forward {forward}; }}\n}}\n', 1))
    return vmctl


def test_a_port_that_is_reserved_for_root(nobody: Vmctl, gallery: Gallery) -> None:
    """`forward host=97`, not as root."""
    gallery.shows(
        _with_forward(nobody, "host=97 guest=80")("up", status=None),
        _UNAVAILABLE,
        place="VMFile.kdl:5:30",
        says=("only root can listen on port 97/tcp: those below 1024 are reserved", "`forward host=8097 guest=80`"),
        never=("QEMU's own message",),
    )
    gallery.by_hand("`forward host=8097 guest=80`")
    gallery.works(_with_forward(nobody, "host=8097 guest=80")("up"))


def test_a_forward_on_an_address_that_this_host_does_not_have(blank: Vmctl, gallery: Gallery) -> None:
    """`forward … address="192.0.2.1"`"""
    gallery.shows(
        _with_forward(blank, 'host=8098 guest=80 address="192.0.2.1"')("up", status=None),
        _UNAVAILABLE,
        place="VMFile.kdl:5:30",
        says=("this host does not have the address 192.0.2.1", "`ip -brief address` lists them"),
        never=("QEMU's own message",),
    )
    gallery.fix(blank, "ip -brief")
    gallery.works(_with_forward(blank, "host=8098 guest=80")("up"))
