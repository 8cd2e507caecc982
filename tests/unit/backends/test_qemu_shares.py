"""What QEMU may open of this host for its shared directories, and what is known of a virtiofsd that has ended."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from unit.samples import spec
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.lost_shares import lost_share
from vm_manager.backends.qemu.share_keeper import server_argv
from vm_manager.backends.qemu.shares import Server, Sharing, confine
from vm_manager.domain.share import Mount
from vm_manager.host.sandbox import Sandbox

_SHARED = spec(
    mounts=(Mount(source="/home/me/src", target="/srv/a"), Mount(source="/home/me/ro", target="/srv/b", read_only=True))
)
_BEFORE = Sandbox(read=(Path("/images/base.qcow2"),))


def test_with_virtiofs_qemu_gets_no_file_more_than_before() -> None:
    assert confine(_BEFORE, _SHARED, Sharing(Server("/usr/libexec/virtiofsd", old=False), "it is there")) == _BEFORE
    assert confine(_BEFORE, spec(), None) == _BEFORE


def test_with_9p_it_gets_the_directories_and_only_reads_those_that_are_read_only() -> None:
    sandbox = confine(_BEFORE, _SHARED, Sharing(None, "there is none"))
    assert sandbox.trees == (Path("/home/me/src"),)
    assert sandbox.read == (Path("/images/base.qcow2"), Path("/home/me/ro"))
    assert sandbox.write == ()


def test_both_kinds_of_virtiofsd_get_options_that_they_have() -> None:
    old, new = (server_argv("/virtiofsd", old=old, socket=7) for old in (True, False))
    assert {"-f", "--fd=7", "source=/tmp"} <= set(old)
    assert {"--fd=7", "--shared-dir=/tmp", "--sandbox=namespace"} <= set(new)


def test_a_share_is_lost_with_its_virtiofsd_or_with_the_keeper_of_all(tmp_path: Path) -> None:
    files = QemuFiles(tmp_path)
    files.shares_note.touch(0o600)
    with files.shares_note.open("rb") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        assert lost_share(files) is None
        files.shares_note.write_text('[1700000000.5, "/srv/a", -9]\n')
        assert lost_share(files) == (1700000000.5, "the virtiofsd for /srv/a was killed by SIGKILL")
        files.shares_note.write_text("")
        os.utime(files.shares_note, (1700000000, 1700000000))
    assert lost_share(files) == (1700000000, "the virtiofsds of its shared directories are gone")
    files.shares_note.write_text("{damaged")
    assert lost_share(files) is None
