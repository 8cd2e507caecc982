"""One mutating command per VM, whatever becomes of the process that holds the lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import Interrupted, StateLocked
from vm_manager.domain.deadline import CancelToken
from vm_manager.state.lock import locked, wait_locked

_HOLD = """
import sys
from pathlib import Path
from vm_manager.state.lock import locked

with locked(Path(sys.argv[1]), "web", "vmctl up"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _another_process(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process that says a word when it is ready and works until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_a_lock_that_another_process_holds_is_reported_with_its_pid_and_command(tmp_path: Path) -> None:
    with _another_process(_HOLD, tmp_path) as holder:
        with pytest.raises(StateLocked) as caught, locked(tmp_path, "web", "vmctl down"):
            pass
        diagnostic = caught.value.diagnostic
        assert diagnostic.args == {"command": "vmctl up", "pid": holder.pid, "name": "web"}
        assert diagnostic.message == f"`vmctl up` (pid {holder.pid}) is working on VM 'web'"
        assert diagnostic.retryable


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    with _another_process(_HOLD, tmp_path) as holder:
        holder.kill()
        holder.wait()
        with locked(tmp_path, "web", "vmctl down"):
            pass


def test_another_name_is_another_lock(tmp_path: Path) -> None:
    with _another_process(_HOLD, tmp_path), locked(tmp_path, "db", "vmctl up"):
        pass


def test_a_lock_is_free_again_after_its_block_even_when_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a bug"), locked(tmp_path, "web", "one"):
        raise ValueError("a bug")
    with locked(tmp_path, "web", "two"):
        pass


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path, "web", "one"), pytest.raises(StateLocked), locked(tmp_path, "web", "two"):
        pass


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff"])
def test_a_held_lock_whose_holder_is_unreadable_is_held_all_the_same(tmp_path: Path, content: bytes) -> None:
    with locked(tmp_path, "web", "one"):
        (tmp_path / "web.lock").write_bytes(content)
        with pytest.raises(StateLocked, match="another command is working on VM 'web'"), locked(tmp_path, "web", "two"):
            pass


_FULL = """
import resource, sys
from pathlib import Path
from vm_manager.state.lock import locked

Path(sys.argv[1]).mkdir(exist_ok=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with locked(Path(sys.argv[1]), "web", "vmctl destroy"):
    print("held")
"""


def test_a_disk_that_takes_not_one_byte_more_can_be_tidied_up_under_the_lock(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "held\n"


def test_a_waiting_lock_waits_until_it_is_free(tmp_path: Path) -> None:
    (tmp_path / "web.lock").touch()
    with _another_process(_HOLD, tmp_path) as holder:
        assert holder.stdin
        holder.stdin.close()
        with wait_locked(tmp_path / "web.lock", CancelToken()):
            pass


def test_a_waiting_lock_ends_its_wait_when_cancelled(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with _another_process(_HOLD, tmp_path), pytest.raises(Interrupted), wait_locked(tmp_path / "web.lock", cancel):
        pass
