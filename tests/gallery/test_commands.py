"""Commands, and what they are given"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pycdlib

from driver import BLANK, VMCTL, Vmctl, ended, is_locked, qemu_processes, wait_for
from first_screen import Gallery

_USAGE = "vmctl::usage"
_UNKNOWN = "vm_manager::vm::not_found"
_SEEDED = BLANK.replace("memory 64", 'memory 64\n    cloud-init { hostname "blank"; user-data "seed.mime"; }')
_PARTS = """\
Content-Type: multipart/mixed; boundary="=B="
MIME-Version: 1.0

--=B=
Content-Type: text/x-shellscript

#!/bin/sh
echo made

--=B=
Content-Type: text/cloud-config

#cloud-config
packages:
  - nginx
 - a-password
--=B=--
"""


def _corrects(
    gallery: Gallery,
    vmctl: Vmctl,
    wrong: str,
    says: str,
    right: str,
    *,
    code: str = _USAGE,
    never: tuple[str, ...] = (),
) -> None:
    """A command that is mistaken; what it says; the command that it leads to."""
    gallery.shows(vmctl(*wrong.split(), status=None), code, place=None, says=(says,), never=never)
    gallery.by_hand(says)
    gallery.works(vmctl(*right.split()))


# As in other tools


def test_down_with_volumes(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl down -v`, which removes volumes in docker compose"""
    blank("up")
    gallery.shows(
        blank("down", "-v", "--timeout", "0"),
        None,
        place=None,
        says=("`-v` makes vmctl verbose, and the disks are kept",),
    )
    assert [vm["state"] for vm in blank("list", "--json").json["vms"]] == ["stopped"]
    gallery.by_hand("run `vmctl down --destroy`")
    gallery.works(blank("down", "--destroy"))
    assert blank("list", "--json").json["vms"] == []


def test_stop_without_a_name(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl stop` without a name"""
    blank("up")
    gallery.shows(blank("stop", status=None), _USAGE, place=None, says=("missing argument 'NAME...'",))
    gallery.fix(blank, "down")
    gallery.works(blank("up"))


# Mistyped


def test_a_mistyped_command(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped command"""
    blank("up")
    _corrects(gallery, blank, "stauts blank", "did you mean `vmctl status`?", "status blank")


def test_a_mistyped_subcommand(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped subcommand"""
    blank("up")
    _corrects(gallery, blank, "snapshot lits blank", "did you mean `vmctl snapshot list`?", "snapshot list blank")


def test_a_mistyped_option(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped option"""
    _corrects(gallery, blank, "up --dryrun", "did you mean `--dry-run`?", "up --dry-run", never=("Possible",))


def test_a_mistyped_code(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl explain` of a mistyped code"""
    _corrects(gallery, blank, "explain ssh::faild", "did you mean `vm_manager::ssh::failed`?", "explain ssh::failed")


def test_a_mistyped_name(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped name of a VM"""
    blank("up")
    _corrects(gallery, blank, "status blnk", "did you mean 'blank'?", "status blank", code=_UNKNOWN)


def test_a_mistyped_name_of_the_vmfile(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl up --name` with a name that the VMFile does not define"""
    _corrects(gallery, blank, "up --name blnk", "did you mean 'blank'?", "up --name blank", code=_UNKNOWN)


def test_a_mistyped_backend(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped `--backend`"""
    code = "vm_manager::backend::not_available"
    _corrects(gallery, blank, "up --backend qmeu", "did you mean 'qemu'?", "up --backend qemu", code=code)


def test_a_mistyped_accelerator(blank: Vmctl, gallery: Gallery) -> None:
    """A mistyped `--accel`"""
    blank("up")
    _corrects(gallery, blank, "up --accel tgc", "run `vmctl up --help`", "up --accel tcg")


def test_a_number_out_of_range(blank: Vmctl, gallery: Gallery) -> None:
    """`--parallel 0`"""
    _corrects(gallery, blank, "up --parallel 0", "run `vmctl up --help`", "up --parallel 1")


def test_a_negative_limit(blank: Vmctl, gallery: Gallery) -> None:
    """`--timeout -1`"""
    _corrects(gallery, blank, "up --timeout -1", "run `vmctl up --help`", "up --timeout 60")


def _with_variable(gallery: Gallery, vmctl: Vmctl, name: str, wrong: str, help_says: str) -> None:
    result = vmctl("up", status=None, env={name: wrong})
    gallery.shows(result, _USAGE, place=None, says=(name, f"'{wrong}'"))
    gallery.by_hand(help_says)
    gallery.works(vmctl("up"))


def test_a_variable_with_an_accelerator_that_does_not_exist(blank: Vmctl, gallery: Gallery) -> None:
    """`VMCTL_ACCEL` has a wrong value"""
    _with_variable(gallery, blank, "VMCTL_ACCEL", "kvn", "or unset it")


def test_a_variable_with_a_sandbox_that_does_not_exist(blank: Vmctl, gallery: Gallery) -> None:
    """`VMCTL_SANDBOX` has a wrong value"""
    _with_variable(gallery, blank, "VMCTL_SANDBOX", "maybe", "or unset it")


def test_a_variable_with_a_size_that_is_none(blank: Vmctl, gallery: Gallery) -> None:
    """`VMCTL_MAX_IMAGE_SIZE` has a wrong value"""
    _with_variable(gallery, blank, "VMCTL_MAX_IMAGE_SIZE", "lots", "give a size with its unit")


# VMs that are not where they should be


def test_ssh_to_a_vm_that_is_down(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` to a VM that is down"""
    blank("up")
    blank("down", "--timeout", "0")
    result = blank("ssh", "blank", "--", "true", status=None)
    gallery.shows(result, "vm_manager::vm::invalid_state", place=None, says=("is stopped", "requires a running VM"))
    gallery.fix(blank, "vmctl start blank")
    gallery.works(blank("status", "blank"))
    assert qemu_processes(blank.data)


def test_ssh_to_a_vm_that_is_suspended(running: Vmctl, gallery: Gallery) -> None:
    """`vmctl ssh` to a VM that is suspended"""
    running("suspend", "tiny")
    result = running("ssh", "tiny", "--", "true", status=None)
    gallery.shows(result, "vm_manager::vm::invalid_state", place=None, says=("is suspended", "requires a running VM"))
    gallery.fix(running, "vmctl resume tiny")
    gallery.works(running("ssh", "tiny", "--", "true"))


def test_a_snapshot_that_exists(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl snapshot create` with the tag of one that exists"""
    blank("up")
    blank("snapshot", "create", "blank", "before")
    result = blank("snapshot", "create", "blank", "before", status=None)
    gallery.shows(result, "vm_manager::vm::invalid_state", place=None, says=("already has a snapshot 'before'",))
    gallery.by_hand("choose another tag")
    gallery.works(blank("snapshot", "create", "blank", "later"))


def test_a_snapshot_that_does_not_exist(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl snapshot restore` with a mistyped tag"""
    blank("up")
    blank("snapshot", "create", "blank", "before")
    _corrects(
        gallery, blank, "snapshot restore blank befroe", "did you mean 'before'?", "snapshot restore blank before",
        code="vm_manager::vm::invalid_state",
    )  # fmt: skip


def test_a_move_to_a_directory_that_does_not_exist(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`vmctl migrate` to a directory that does not exist"""
    blank("up")
    target = str(tmp_path / "other host" / "vmctl")
    gallery.shows(
        blank("migrate", "blank", "--to", target, status=None), _USAGE, place=None, says=("no such directory",)
    )
    gallery.fix(blank, "mkdir")
    gallery.works(blank("migrate", "blank", "--to", target))
    Vmctl(blank.directory, tmp_path / "other host").destroy_all()


def test_a_move_to_a_file(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`vmctl migrate` to a file"""
    blank("up")
    result = blank("migrate", "blank", "--to", str(blank.directory / "blank.qcow2"), status=None)
    gallery.shows(result, _USAGE, place=None, says=("is not a directory",), never=("mkdir",))
    gallery.by_hand("use another data directory on this host")
    target = tmp_path / "other" / "vmctl"
    target.mkdir(parents=True, mode=0o700)
    gallery.works(blank("migrate", "blank", "--to", str(target)))
    Vmctl(blank.directory, tmp_path / "other").destroy_all()


def test_a_move_to_where_no_vmctl_would_look(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`vmctl migrate` to a directory that is not called vmctl"""
    blank("up")
    target = tmp_path / "other disk"
    target.mkdir(mode=0o700)
    gallery.shows(
        blank("migrate", "blank", "--to", str(target), status=None),
        _USAGE,
        place=None,
        says=("vmctl would not find the VM in", "its data directories are called vmctl"),
    )
    moved = gallery.fix(blank, "mkdir")
    # It says how the VM is reached from then on, and so it is.
    assert f"XDG_DATA_HOME='{target}' vmctl" in moved.stderr
    there = Vmctl(blank.directory, target)
    gallery.works(there("status", "blank"))
    there.destroy_all()


def test_a_move_to_another_host(blank: Vmctl, gallery: Gallery, tmp_path: Path) -> None:
    """`vmctl migrate` to another host"""
    blank("up")
    result = blank("migrate", "blank", "--to", "ssh://other/srv/vmctl", status=None)
    gallery.shows(result, _USAGE, place=None, says=("is not a data directory on this host", "file:///"))
    gallery.by_hand("use another data directory on this host")
    target = tmp_path / "other" / "vmctl"
    target.mkdir(parents=True, mode=0o700)
    gallery.works(blank("migrate", "blank", "--to", f"file://{target}"))
    Vmctl(blank.directory, tmp_path / "other").destroy_all()


# Two at once


@contextmanager
def _stopping(vmctl: Vmctl) -> Iterator[int]:
    """A `vmctl stop` at work, which waits for a guest that does not react; its pid."""
    command = vmctl.start("stop", "blank", "--timeout", "120", start_new_session=True)
    wait_for(lambda: is_locked(vmctl.data / "vmctl" / "locks" / "blank.lock"), "the lock")
    try:
        yield command.pid
    finally:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGINT)
        assert ended(command).code == "vmctl::interrupted"


def test_up_while_another_command_works_on_the_vm(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl up` while another command stops the VM"""
    blank("up")
    with _stopping(blank) as pid:
        gallery.shows(
            blank("up", status=None),
            "vm_manager::state::locked",
            place=None,
            says=("`vmctl stop`", f"pid {pid}", "is working on VM 'blank'"),
            never=("destroy",),
        )
        gallery.by_hand("wait")
    gallery.works(blank("up"))


def test_up_while_a_command_hangs(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl up` while another command holds the VM and was stopped, by Ctrl-Z for example"""
    blank("up")
    with _stopping(blank) as pid:
        os.killpg(pid, signal.SIGSTOP)
        gallery.shows(
            blank("up", status=None),
            "vm_manager::state::locked",
            place=None,
            says=(f"pid {pid}", "and is stopped", f"`kill -CONT {pid}`"),
        )
        gallery.by_hand("or end it")
        os.killpg(pid, signal.SIGINT)
        os.killpg(pid, signal.SIGCONT)
    gallery.works(blank("up"))


# What a guest is told


def test_a_broken_part_of_the_user_data(blank: Vmctl, gallery: Gallery) -> None:
    """One part of multipart user-data is not valid YAML"""
    blank.write(_SEEDED)
    blank.write(_PARTS, "seed.mime")
    gallery.shows(
        blank("validate", status=None),
        "vm_manager::vmfile::validation",
        place="seed.mime:16:2",
        says=("is not valid YAML at line 16, column 2", "in part 2 of 2"),
        never=("a-password",),
    )
    gallery.by_hand("fix that line")
    blank.write(_PARTS.replace(" - a-", "  - a-"), "seed.mime")
    gallery.works(blank("validate"))


def test_a_seed_that_was_deleted(blank: Vmctl, gallery: Gallery) -> None:
    """Somebody deleted `seed.iso` of a VM: it is made again, as it was"""
    blank.write(_SEEDED)
    blank.write(_PARTS.replace(" - a-", "  - a-"), "seed.mime")
    blank("up", "--wait", "none")
    blank("down", "--timeout", "0")
    seed = blank.home("blank") / "seed.iso"
    files, keys = _files_of(seed), blank.home("blank") / "known_hosts"
    pinned = keys.read_text()
    seed.unlink()
    gallery.shows(
        blank("up", "--wait", "none"),
        None,
        place=None,
        says=("its cloud-init seed was missing: made again, as it was",),
    )
    gallery.by_hand("made again")
    assert (_files_of(seed), keys.read_text()) == (files, pinned)
    gallery.works(blank("status", "blank"))


def _files_of(seed: Path) -> dict[str, bytes]:
    iso = pycdlib.PyCdlib()
    iso.open(str(seed))
    found = {}
    for name in ("meta-data", "user-data", "vendor-data"):
        into = BytesIO()
        iso.get_file_from_iso_fp(into, joliet_path=f"/{name}")
        found[name] = into.getvalue()
    iso.close()
    return found


def test_a_seed_that_was_deleted_and_cannot_be_made_again(blank: Vmctl, gallery: Gallery) -> None:
    """Somebody deleted `seed.iso`, and the user-data that it was made from has changed"""
    blank.write(_SEEDED)
    good = _PARTS.replace(" - a-", "  - a-")
    blank.write(good, "seed.mime")
    blank("up", "--wait", "none")
    blank("down", "--timeout", "0")
    (blank.home("blank") / "seed.iso").unlink()
    blank.write(good.replace("nginx", "curl"), "seed.mime")
    gallery.shows(
        blank("up", "--wait", "none", status=None),
        "vm_manager::cloudinit::iso_failed",
        place=None,
        says=("is missing", "`user-data` has changed since it was made"),
        never=("destroy", "reload"),
    )
    gallery.by_hand("put back that file as it was")
    blank.write(good, "seed.mime")
    gallery.works(blank("up", "--wait", "none"))


def test_a_second_console(blank: Vmctl, gallery: Gallery) -> None:
    """`vmctl console`, and somebody is at that console already"""
    blank("up")
    lock = blank.data / "vmctl" / "locks" / "console" / "blank.lock"
    with subprocess.Popen(
        [str(VMCTL), "console", "blank"],
        cwd=blank.directory,
        env=blank.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        wait_for(lambda: is_locked(lock), "the console")
        gallery.shows(
            blank("console", "blank", status=None),
            "vm_manager::state::locked",
            place=None,
            says=("`vmctl console blank`", f"pid {first.pid}"),
        )
        gallery.by_hand("wait for the other command to finish")
    gallery.works(blank("console", "blank"))
