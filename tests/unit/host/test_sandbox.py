"""Programs in a sandbox: what they get, and what stays as it was for who starts them. What they are refused: tests/attacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import Usage
from vm_manager.host.environment import SSH, clean_environment
from vm_manager.host.landlock import landlock_version
from vm_manager.host.process import ProcessFailed, run
from vm_manager.host.sandbox import Sandbox, confinement

_LIMIT_S = 60


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hunter2")
    return path


@pytest.mark.skipif(landlock_version() == 0, reason="the kernel has no Landlock")
def test_what_is_granted_can_be_done_and_no_more(secret: Path, tmp_path: Path) -> None:
    assert run(["/bin/cat", str(secret)], timeout_s=_LIMIT_S, sandbox=Sandbox(read=(secret,))).stdout == "hunter2"
    with pytest.raises(ProcessFailed) as caught:
        run(["/bin/cat", str(secret)], timeout_s=_LIMIT_S, sandbox=Sandbox())
    assert "Permission denied" in caught.value.result.stderr
    # The thread that gave it up is gone; this process has its rights.
    assert secret.read_text() == "hunter2"
    (tmp_path / "new").write_text("")


def test_what_is_not_there_or_not_to_be_reached_is_no_hindrance(tmp_path: Path) -> None:
    sandbox = Sandbox(read=(tmp_path / "none", tmp_path / "none" / "below"), write=(Path("/proc/1/root/x"),))
    assert run(["/bin/echo", "ran"], timeout_s=_LIMIT_S, sandbox=sandbox).stdout == "ran\n"


def test_a_program_sees_what_it_needs_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_TOKEN", "LD_PRELOAD_SECRET", "SSH_AUTH_SOCK", "LC_TIME"):
        monkeypatch.setenv(name, "hunter2")
    assert {"SECRET_TOKEN", "LD_PRELOAD_SECRET", "SSH_AUTH_SOCK"} & clean_environment().keys() == set()
    assert {"SSH_AUTH_SOCK", "LC_TIME", "PATH"} <= clean_environment(SSH).keys()
    seen = run(["/usr/bin/env"], timeout_s=_LIMIT_S).stdout
    assert "SECRET_TOKEN" not in seen
    assert f"PATH={os.environ['PATH']}" in seen.splitlines()


def test_the_word_for_the_sandbox_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMCTL_SANDBOX", "off")
    assert (confinement().sandbox, confinement().reason) == ("none", "VMCTL_SANDBOX=off")
    monkeypatch.setenv("VMCTL_SANDBOX", "of")
    with pytest.raises(Usage):
        confinement()
