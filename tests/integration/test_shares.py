"""Directories of this host in real guests: written from both sides, closed where they shall be, and gone with their QEMU."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TinyGuest
from driver import BLANK, LIMIT_S, Vmctl, as_user, blank_disk, processes_below, qemu_processes, wait_for
from proofs import prove
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.instance import Endpoint
from vm_manager.domain.share import Mount, ShareType
from vm_manager.guest.credentials import Credentials
from vm_manager.guest.mounts import GuestMounts, settle_mounts
from vm_manager.guest.ssh import SshSession

_ODD = 'odd, "shared" \\ ünd ro'
_VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
_NOBODY = 65534


def _kdl(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _sh(vmctl: Vmctl, command: str, status: int | None = 0) -> str:
    return vmctl("ssh", "tiny", "--", command, status=status).stdout


def _virtiofsds(vmctl: Vmctl) -> list[str]:
    """The command lines of those that serve its VMs, with that of their keeper."""
    keepers = [line for line in processes_below(vmctl.data) if "share_keeper" in line]
    return [*keepers, *(_reads(path) for path in Path("/proc").glob("[0-9]*/cmdline") if _serves(vmctl, path))]


def _reads(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended


def _are_gone(vmctl: Vmctl) -> None:
    wait_for(lambda: _virtiofsds(vmctl) == [], "the end of the virtiofsds")


@pytest.fixture(scope="module")
def sharing(tiny: TinyGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vmctl]:
    """The tiny guest with one directory that it may write to, and one that it may not, at odd places; booted once."""
    vmctl = Vmctl.below(tmp_path_factory.mktemp("sharing"))
    (vmctl.directory / "src").mkdir()
    (vmctl.directory / _ODD).mkdir()
    (vmctl.directory / _ODD / "file").write_text("from the host\n")
    odd = _kdl(_ODD)
    vmctl.write(tiny.vm(body=f'mount "src" "/srv/src"\n    mount "{odd}" "/srv/{odd}" read-only=#true'))
    vmctl("up")
    yield vmctl
    vmctl.destroy_all()


def test_shares_are_written_from_both_sides_and_closed_where_they_are_read_only(sharing: Vmctl) -> None:
    source, odd = sharing.directory / "src", sharing.directory / _ODD
    (source / "one").write_text("from the host\n")
    assert _sh(sharing, "cat /srv/src/one") == "from the host\n"
    # As any user of the guest: what it makes is this user's here.
    _sh(sharing, "echo guest >/srv/src/two; mkdir /srv/src/d; chown 7:7 /srv/src/d; mv /srv/src/two /srv/src/d")
    assert (source / "d" / "two").read_text() == "guest\n"
    assert (source / "d" / "two").stat().st_uid == (source / "d").stat().st_uid == os.geteuid()
    there = shlex.quote(f"/srv/{_ODD}")
    assert _sh(sharing, f"cat {there}/file") == "from the host\n"
    # Root of the guest is told no by the host, whatever it makes of its own mount.
    _sh(sharing, f"mount -o remount,rw {there}")
    for attempt in ("echo x >{}/new", "echo x >{}/file", "rm {}/file", "chmod 777 {}/file", "chown 7 {}/file", "mkdir {}/d",
                    "mv {}/file {}/other", "touch -d 2001-01-01 {}/file", "ln -s / {}/link"):  # fmt: skip
        _sh(sharing, attempt.replace("{}", there), status=1)
    assert [path.name for path in odd.iterdir()] == ["file"]
    status = (odd / "file").stat()
    assert (odd / "file").read_text() == "from the host\n"
    assert (status.st_mode & 0o777, status.st_mtime > 10**9) == (0o644, True)
    # It makes neither device nodes nor programs that run as somebody else.
    _sh(sharing, "mknod /srv/src/disk b 8 0", status=1)
    _sh(sharing, "cp /bin/busybox /srv/src/root; chmod 4755 /srv/src/root", status=1)
    _sh(sharing, "chmod 2755 /srv/src/root", status=1)
    assert not (source / "disk").exists()
    assert (source / "root").stat().st_mode & 0o7777 == 0o755


def test_links_do_not_lead_out_of_a_share(sharing: Vmctl) -> None:
    secret = sharing.directory / "secret"
    secret.write_text("of the host\n")
    (sharing.directory / "src" / "absolute").symlink_to(secret)
    (sharing.directory / "src" / "relative").symlink_to("../secret")
    (sharing.directory / "src" / "up").symlink_to("../../../../../../../../..")
    for name in ("absolute", "relative", f"up{secret}"):
        _sh(sharing, f"cat /srv/src/{name}", status=1)
    # A link of the guest's own leads to the guest's files.
    _sh(
        sharing,
        f"ln -s /etc/hostname-of-guest /srv/src/own; ln -sf {secret} /srv/src/two; echo spoilt >/srv/src/two",
        None,
    )
    _sh(sharing, "echo spoilt >/srv/src/../secret; echo spoilt >/srv/src/relative", None)
    assert secret.read_text() == "of the host\n"


def test_what_is_left_out_is_unmounted_and_taken_out_of_the_fstab(sharing: Vmctl, tiny: TinyGuest) -> None:
    ssh = sharing("status", "tiny", "--json").json["vm"]["ssh"]
    session = SshSession.connect(
        Endpoint(ssh["host"], ssh["port"]),
        alias="tiny",
        credentials=Credentials(user="root", keys=(tiny.key,), agent=False),
        known_hosts=sharing.home("tiny") / "known_hosts",
    )
    _sh(sharing, "echo '/dev/vda1 /mnt ext2 noauto 0 0' >>/etc/fstab")
    one = Mount(source="/src", target="/srv/src")
    other = Mount(source="/ro", target=f"/srv/{_ODD}", read_only=True)
    mounted = "grep -c ' virtiofs ' /proc/mounts || true"
    with session:
        for mounts in (one,), (), (one, other):
            wanted = GuestMounts(mounts, ShareType.VIRTIOFS if mounts else None)
            settle_mounts(session, "tiny", wanted, Deadline(LIMIT_S), lambda: None)
            tags = [line.split()[0] for line in _sh(sharing, "cat /etc/fstab").splitlines()]
            assert tags == ["/dev/vda1", *sorted((it.tag for it in mounts), key=tags.index)]
            assert _sh(sharing, mounted) == f"{len(mounts)}\n"


def test_what_cannot_be_saved_is_refused_before_anything_is_done(sharing: Vmctl, tmp_path: Path) -> None:
    (tmp_path / "vmctl").mkdir(mode=0o700)
    commands = (
        ("suspend", "--to-disk", "tiny"),
        ("snapshot", "create", "tiny", "one"),
        ("migrate", "tiny", "--to", str(tmp_path / "vmctl")),
    )
    for command in commands:
        refused = sharing(*command, status=5)
        assert refused.code == "vm_manager::vm::invalid_state"
        assert "it has shared directories" in refused.stderr
        assert sharing("status", "tiny", "--json").json["vm"]["ready"]


def test_a_directory_that_was_replaced_is_told_of_and_mended_by_a_restart(sharing: Vmctl) -> None:
    source = sharing.directory / "src"
    source.rename(sharing.directory / "moved away")
    source.mkdir()
    (source / "new").write_text("of the new one\n")
    text = (sharing.directory / "VMFile.kdl").read_text()
    step = 'provision "shell" { inline "cat /srv/src/new"; }'
    sharing.write(text.replace("mount ", f"{step}\n    mount ", 1))
    refused = sharing("provision", status=12).stderr
    assert f"the guest does not see {source}/new: the directory was replaced after the VM was started" in refused
    assert "`vmctl restart tiny`" in refused
    sharing("restart", "--timeout", "5", "tiny")
    assert "of the new one" in sharing("provision").stderr
    sharing.write(text.replace("mount ", f"{step.replace('new', 'gone')}\n    mount ", 1))
    gone = sharing("provision", status=12).stderr
    assert f"/srv/src/gone is in a shared directory, and this host has no {source}/gone" in gone
    sharing.write(text)


def test_a_virtiofsd_that_is_killed_is_told_of_and_mended_by_a_restart(sharing: Vmctl) -> None:
    server = next(path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if _serves(sharing, path))
    os.kill(int(server.name), signal.SIGKILL)
    wait_for(lambda: bool((sharing.home("tiny") / "shares-end").read_text()), "the keeper's note")
    status = sharing("status", "tiny").stdout
    assert "vm_manager::qemu::share_lost: the virtiofsd for /srv/" in status
    assert "`vmctl restart tiny`" in status
    assert sharing("list", "--json").json["vms"][0]["state"] == "failed"
    prove(sharing("up", status=7), "vm_manager::qemu::share_lost", evidence="virtiofsd's log")
    assert sharing("ssh", "tiny", "--", "true", status=None).code == "vm_manager::qemu::share_lost"
    sharing("restart", "--timeout", "5", "tiny")
    assert sharing("list", "--json").json["vms"][0]["state"] == "running"
    _sh(sharing, "echo x >/srv/src/again")


def _serves(vmctl: Vmctl, cmdline: Path) -> bool:
    try:
        return _reads(cmdline).startswith(_VIRTIOFSD) and os.readlink(cmdline.parent / "fd" / "2").startswith(
            str(vmctl.data)
        )
    except OSError:
        return False


def _keeps(vmctl: Vmctl, cmdline: Path) -> bool:
    try:
        return "share_keeper" in _reads(cmdline) and (cmdline.parent / "cwd").readlink().is_relative_to(vmctl.data)
    except OSError:
        return False


def test_shares_are_there_after_every_start_and_gone_with_their_qemu(sharing: Vmctl) -> None:
    sharing("suspend", "tiny")
    (sharing.directory / "src" / "paused").write_text("while it stood still\n")
    sharing("resume", "tiny")
    assert _sh(sharing, "cat /srv/src/paused") == "while it stood still\n"
    sharing("down")
    _are_gone(sharing)
    # Of a VM that is off, the disks are all there is.
    sharing("snapshot", "create", "tiny", "one")
    sharing("snapshot", "restore", "tiny", "one")
    sharing("up")
    _sh(sharing, "echo x >/srv/src/after-up")
    sharing("reload")
    assert _sh(sharing, "cat /srv/src/after-up") == "x\n"
    (pid,) = qemu_processes(sharing.data)
    os.kill(pid, signal.SIGKILL)
    _are_gone(sharing)
    # One that is left out is gone with the next start.
    text = (sharing.directory / "VMFile.kdl").read_text()
    sharing.write(text.replace('mount "src" "/srv/src"', ""))
    sharing("up")
    assert _sh(sharing, "grep -c virtiofs /proc/mounts") == "1\n"
    (mount,) = sharing("status", "tiny", "--json").json["vm"]["mounts"]
    assert mount["target"] == f"/srv/{_ODD}"
    # With their keeper the virtiofsds go, too.
    keeper = next(path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if _keeps(sharing, path))
    os.kill(int(keeper.name), signal.SIGKILL)
    _are_gone(sharing)
    assert sharing("up", status=7).code == "vm_manager::qemu::share_lost"
    sharing("destroy", "tiny")
    _are_gone(sharing)
    assert not sharing.home("tiny").exists()


@pytest.fixture
def nobody() -> Iterator[Vmctl]:
    """The project of a user who is not root."""
    base = Path(f"/tmp/vmctl-shares-{os.getpid()}")  # below the tests' own directories only root may go
    base.mkdir(mode=0o755)
    vmctl = Vmctl.below(base)
    vmctl.env["HOME"] = str(base)
    vmctl.data.mkdir()
    try:
        yield vmctl
        vmctl.destroy_all()
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_user_without_rights_shares_a_directory_of_his(nobody: Vmctl, tiny: TinyGuest) -> None:
    shutil.copy(tiny.image, nobody.directory / "tiny.qcow2")
    shutil.copy(tiny.key, nobody.directory / "tiny.key")
    (nobody.directory / "src").mkdir()
    body = tiny.vm(body='mount "src" "/srv/src"; mount "." "/srv/all" read-only=#true', image='image "tiny.qcow2"')
    nobody.write(body.replace(str(tiny.key), "tiny.key"))
    subprocess.run(["chown", "-R", f"{_NOBODY}:{_NOBODY}", str(nobody.directory.parent)], check=True)
    nobody.prefix = as_user(_NOBODY)
    nobody("up")
    _sh(nobody, "echo guest >/srv/src/file; chown 7:7 /srv/src/file; test $(stat -c %u /srv/src/file) = 0")
    assert (nobody.directory / "src" / "file").stat().st_uid == _NOBODY
    _sh(nobody, "rm /srv/all/src/file", status=1)
    nobody("destroy", "tiny")
    _are_gone(nobody)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_shares_as_the_owner_and_the_records_and_keys_of_vmctl_are_in_no_share(
    vmctl: Vmctl, tiny: TinyGuest
) -> None:
    source = vmctl.directory / "src"
    source.mkdir()
    os.chown(source, _NOBODY, _NOBODY)
    vmctl.write(tiny.vm(body='mount "src" "/srv/src"; mount ".." "/srv/all"'))
    assert "belongs to another user" in vmctl("up").stderr
    _sh(vmctl, "echo guest >/srv/src/file")
    assert (source / "file").stat().st_uid == _NOBODY
    assert {"data", "project"} <= set(_sh(vmctl, "ls /srv/all").split())
    assert _sh(vmctl, "ls -A /srv/all/data/vmctl") == ""
    _sh(vmctl, "echo x >/srv/all/data/vmctl/x", status=1)
    vmctl("down")
    vmctl.write(tiny.vm(body=f'mount "{vmctl.home("tiny")}" "/srv/own"'))
    refused = vmctl("up", status=None)
    assert refused.code == "vm_manager::io"
    assert "cannot be shared with a guest" in refused.stderr


def test_without_virtiofsd_qemu_serves_by_9p_which_this_guest_does_not_know(vmctl: Vmctl, tiny: TinyGuest) -> None:
    (vmctl.directory / "src").mkdir()
    vmctl.write(tiny.vm(body='mount "src" "/srv/src"'))
    hide = f'mount --bind /dev/null {_VIRTIOFSD} && exec "$@"'
    without = replace(vmctl, prefix=("unshare", "--mount", "sh", "-c", hide, "sh"))
    failed = without("up", status=10)
    prove(failed, "vm_manager::guest::mount_failed", evidence="modprobe")
    assert "the guest's kernel has no 9p" in failed.stderr
    (mount,) = vmctl("status", "tiny", "--json").json["vm"]["mounts"]
    assert mount["type"] == "9p"
    refused = vmctl("suspend", "--to-disk", "tiny", status=5)
    assert "it has shared directories" in refused.stderr


@pytest.fixture
def blank_share(vmctl: Vmctl) -> Vmctl:
    """A VM without a guest that has a shared directory."""
    blank_disk(vmctl.directory)
    (vmctl.directory / "src").mkdir()
    vmctl.write(BLANK.replace("memory 64", 'memory 64\n    mount "src" "/srv/src"'))
    return vmctl


def test_without_a_login_the_device_is_there_and_status_says_its_tag(blank_share: Vmctl) -> None:
    blank_share("up")
    (mount,) = blank_share("status", "blank", "--json").json["vm"]["mounts"]
    assert mount["type"] == "virtiofs"
    assert f"tag {mount['tag']}" in blank_share("status", "blank").stdout
    words = Path(f"/proc/{qemu_processes(blank_share.data)[0]}/cmdline").read_text().split("\0")
    assert any(word.endswith(f"tag={mount['tag']}") for word in words)
    text = (blank_share.directory / "VMFile.kdl").read_text()
    blank_share.write(text.replace('"/srv/src"', '"/srv/src" read-only=#true'))
    assert "mount" in blank_share("plan").stdout


def test_a_vmctl_that_is_killed_as_it_starts_leaves_no_virtiofsd(blank_share: Vmctl) -> None:
    starting = blank_share.start("up", start_new_session=True)
    wait_for(lambda: len(_virtiofsds(blank_share)) > 1 or starting.poll() is not None, "a virtiofsd")
    starting.kill()
    starting.communicate()
    for pid in qemu_processes(blank_share.data):
        os.kill(pid, signal.SIGKILL)
    _are_gone(blank_share)
    blank_share("up")


def test_a_directory_that_has_gone_since_is_named(blank_share: Vmctl) -> None:
    blank_share("up")
    blank_share("down", "--timeout", "0")
    (blank_share.directory / "src").rmdir()
    refused = blank_share("start", "blank", status=None)
    assert refused.code == "vm_manager::io"
    assert "the directory to mount on /srv/src is missing" in refused.stderr


def test_create_shares_directories_too(blank_share: Vmctl) -> None:
    options = ("--image", "blank.qcow2", "--memory", "32")
    blank_share("create", "--name", "made", *options, "--mount", "src:/srv/a:ro", "--mount", "./src:/srv/b")
    mounts = blank_share("status", "made", "--json").json["vm"]["mounts"]
    source = str(blank_share.directory / "src")
    assert [(it["source"], it["target"], it["read_only"]) for it in mounts] == [
        (source, "/srv/a", True),
        (source, "/srv/b", False),
    ]
    for wrong in (
        "src",
        "src:relative",
        "src:/",
        "missing:/srv",
        "/proc:/srv",
        "~nobody-here/a:/srv",
        "src:/etc",
        "src:/home/vm",
    ):
        assert blank_share("create", "--name", "other", *options, "--mount", wrong, status=2).code == "vmctl::usage"
