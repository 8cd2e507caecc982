"""Commands that need root in a guest, by the shells of this host and a sudo that only notes how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vm_manager.guest.as_root import as_root

_SCRIPT = """cat; echo "it's \\"quoted\\""; exit 3"""


def _program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("user", "through"), [("0", ""), ("1000", "sudo -n\n")])
def test_sudo_is_used_by_others_than_root(tmp_path: Path, user: str, through: str) -> None:
    _program(tmp_path, "id", f"echo {user}")
    _program(tmp_path, "sudo", 'echo "sudo $1"; shift; exec "$@"')
    done = subprocess.run(
        ["sh", "-c", as_root(_SCRIPT)],
        input="input\n",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert (done.stdout, done.returncode) == (f'{through}input\nit\'s "quoted"\n', 3)


def test_without_sudo_it_fails(tmp_path: Path) -> None:
    _program(tmp_path, "id", "echo 1000")
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run(
        ["/bin/sh", "-c", as_root("echo done")], capture_output=True, check=False, env={"PATH": str(tmp_path)}
    )
    assert (done.stdout, done.returncode) == (b"", 127)
