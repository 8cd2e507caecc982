"""The fence around what serves a directory: tried from within, by a process that becomes another program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.backends.qemu.share_keeper import probe_command
from vm_manager.host.fence import SERVED, Fence

_INSIDE = """
import os, sys
from vm_manager.host.fence import Fence, enter
enter(Fence(sys.argv[1], sys.argv[2] == "ro", 1000, sys.argv[3] or None))
os.execv("/bin/sh", ["sh", "-c", sys.argv[4]])
"""


def _allowed() -> bool:
    return subprocess.run(probe_command(Fence("/usr", False, 1000)), check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _allowed(), reason="this host has no user namespaces for everybody")


def _try(directory: Path, script: str, *, read_only: bool = False, hidden: Path | None = None) -> str:
    """What a shell says behind the fence; each line that fails says why."""
    done = subprocess.run(
        [sys.executable, "-c", _INSIDE, str(directory), "ro" if read_only else "rw", str(hidden or ""), script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        check=False,
    )
    return done.stdout


def test_files_are_the_users_whoever_they_are_made_for(tmp_path: Path) -> None:
    said = _try(tmp_path, f"cd {SERVED}; echo x >file; chown 7:7 file; stat -c %u:%g file; id -u")
    assert said == "1000:1000\n1000\n"
    assert (tmp_path / "file").stat().st_uid == os.geteuid()


def test_nothing_runs_as_somebody_else_and_no_device_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o755)
    for attempt in ("chmod 4755 file", "chmod 2755 file", "mknod disk b 8 0", "mknod null c 1 3", "mkdir -m 2755 d"):
        assert "Operation not permitted" in _try(tmp_path, f"cd {SERVED}; {attempt}")
    assert _try(tmp_path, f"cd {SERVED}; mkfifo pipe; chmod 1700 file; mkdir d; ls") == "d\nfile\npipe\n"


def test_what_is_read_only_cannot_be_changed_in_any_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as it was")
    for attempt in ("touch new", "echo x >file", "rm file", "mkdir d", "chmod 600 file", "chown 7 file", "ln file two",
                    "touch -d 2001-01-01 file"):  # fmt: skip
        assert _try(tmp_path, f"cd {SERVED}; {attempt}", read_only=True) != ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "as it was"


def test_a_directory_below_is_hidden_and_there_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "a" / "secret").mkdir(parents=True)
    (tmp_path / "a" / "secret" / "key").touch()
    script = f"ls -A {SERVED}/a/secret; touch {SERVED}/a/secret/new; cat /proc/net/dev | grep -c ':'"
    said = _try(tmp_path, script, hidden=tmp_path / "a" / "secret")
    assert "Read-only file system" in said
    assert said.endswith("\n1\n")  # lo, which is down


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert "Not a directory" in _try(tmp_path / "link", "true")
