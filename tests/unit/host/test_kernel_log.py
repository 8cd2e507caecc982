"""What the kernel and the host's clock tell of a process that is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vm_manager.host.facts import booted_at
from vm_manager.host.kernel_log import KERNEL_LOG, out_of_memory_kill


def _log(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "kmsg"
    path.write_text(text)
    return path


def _record(pid: int, *, seconds_ago: float = 10, text: str = "Out of memory: Killed process") -> str:
    stamp = int((time.monotonic() - seconds_ago) * 1e6)
    return f"3,100,{stamp},-;{text} {pid} (qemu-system-x86) total-vm:1kB\n SUBSYSTEM=x\n"


@pytest.mark.parametrize("text", ["Out of memory: Killed process", "Memory cgroup out of memory: Killed process"])
def test_a_kill_for_lack_of_memory_is_found_with_its_time(tmp_path: Path, text: str) -> None:
    found = out_of_memory_kill(4711, time.time() - 60, _log(tmp_path, _record(4711, text=text)))
    assert found
    assert found[1] == f"{text} 4711 (qemu-system-x86) total-vm:1kB"
    assert abs(found[0] - (time.time() - 10)) < 5


def test_another_process_or_an_older_one_with_that_number_is_not_meant(tmp_path: Path) -> None:
    assert out_of_memory_kill(471, 0, _log(tmp_path, _record(4711))) is None
    assert out_of_memory_kill(4711, time.time(), _log(tmp_path, _record(4711, seconds_ago=60))) is None


def test_a_log_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        out_of_memory_kill(1, 0, tmp_path / "kmsg")


@pytest.mark.skipif(not os.access(KERNEL_LOG, os.R_OK), reason="the kernel's log may not be read here")
def test_the_real_log_comes_to_an_end() -> None:
    assert out_of_memory_kill(2**22 + 1, 0) is None


def test_the_host_was_started_before_now() -> None:
    booted = booted_at()
    assert booted is not None
    assert 0 < booted < time.time()
