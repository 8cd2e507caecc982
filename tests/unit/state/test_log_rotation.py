"""Logs that begin anew: at start, and while another process writes to them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vm_manager.backends.qemu.log_keeper import keeper_command
from vm_manager.state.log_reader import LINE_BYTES, LogReader
from vm_manager.state.log_rotation import CUT_MARK, KEPT, cut, pieces, rotate

# It writes while its log is being cut, and stops only where the keeper has no processor to keep up with it.
_FLOOD = """
import os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(int(sys.argv[2])):
    os.write(log, b"%09d " % number + b"x" * 989 + b"\\n")
    while os.fstat(log).st_blocks * 512 > int(sys.argv[3]):
        time.sleep(0.001)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that is empty."""
    path = tmp_path / "console.log"
    path.touch()
    return path


def texts(log: Path) -> list[str | None]:
    """What the log and its earlier ones hold, newest first."""
    files = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, KEPT + 2))]
    return [file.read_text() if file.exists() else None for file in files]


def test_the_newest_are_kept_and_an_empty_one_pushes_nothing_out(log: Path) -> None:
    for text in ("one", "two", "three", "four", "five"):
        log.write_text(text)
        rotate(str(log))
        log.touch()
        rotate(str(log))
    assert texts(log) == ["", "five", "four", "three", None]
    log.unlink()
    rotate(str(log))
    assert texts(log) == [None, "five", "four", "three", None]


def test_a_log_within_its_cap_is_left_alone(log: Path) -> None:
    log.write_bytes(b"x" * 4096)
    assert not cut(str(log), 4096)
    assert texts(log)[1] is None


def test_a_cut_log_keeps_its_end_and_the_writer_goes_on_at_its_beginning(log: Path) -> None:
    writer = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.write(writer, b"old " * 2000 + b"end\n")
    assert cut(str(log), 4096)
    os.write(writer, b"new\n")
    os.close(writer)
    now, before, *_ = texts(log)
    assert now == CUT_MARK.decode() + "new\n"
    assert before is not None
    assert before.endswith("old end\n")
    assert len(before) == 4096
    assert stat.S_IMODE(log.with_name("console.log.1").stat().st_mode) == 0o600
    assert pieces(str(log)) == [f"{log}.1", str(log)]


def test_the_earlier_log_of_another_run_is_no_piece_of_this_one(log: Path) -> None:
    log.write_text("before\n")
    rotate(str(log))
    log.write_text("now\n")
    assert pieces(str(log)) == [str(log)]


def test_a_hole_that_a_writer_leaves_does_not_count(log: Path) -> None:
    with log.open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"end")
    assert not cut(str(log), 1 << 20)


def test_a_flood_of_100_mb_stays_below_the_cap_and_what_is_kept_is_in_order(log: Path) -> None:
    cap = 4_000_000
    writer = subprocess.Popen([sys.executable, "-c", _FLOOD, str(log), "100000", str(3 * cap)])
    handle = os.pidfd_open(writer.pid)
    # The real keeper looks every two seconds, which is often enough for a serial port, not for this writer.
    code = "import vm_manager.backends.qemu.log_keeper as k; k._POLL_S = 0.01; "
    end = os.open(log.parent / "end", os.O_WRONLY | os.O_CREAT, 0o600)
    command = keeper_command(handle, end, [log.name], [], cap_bytes=cap)
    command[4] = command[4].replace("from vm_manager", code + "from vm_manager", 1)
    try:
        keeper = subprocess.Popen(command, cwd=log.parent, pass_fds=(handle, end))
    finally:
        os.close(handle)
        os.close(end)
    assert writer.wait(300) == 0
    assert keeper.wait(60) == 0
    assert abs(float((log.parent / "end").read_text()) - time.time()) < 60
    sizes = {file.name: file.stat().st_size for file in log.parent.iterdir()}
    assert "console.log.3" in sizes
    assert sum(sizes.values()) <= 8 * (cap + (1 << 20)), sizes
    reader = LogReader(log, lines=1_000_000)
    numbers = [int(line[:9]) for line in reader.read() if len(line) == 999 and line[:9].isdecimal()]
    reader.close()
    assert len(numbers) > 100
    assert numbers == sorted(set(numbers))


def test_a_full_disk_does_not_keep_a_log_from_being_cut(tmp_path: Path) -> None:
    script = """
import os, sys
from vm_manager.state.log_rotation import cut
os.chdir(sys.argv[1])
with open("console.log", "wb") as log: log.write(b"x" * 700_000)
assert cut("console.log", 500_000)
assert os.listdir(".") == ["console.log"], os.listdir(".")
assert b"could not be kept" in open("console.log", "rb").read()
"""
    mount = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system takes root")
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read(reader: LogReader) -> list[str]:
    """What is new."""
    return list(reader.read())


def test_lines_are_handed_out_when_they_are_complete(log: Path) -> None:
    reader = LogReader(log)
    with log.open("ab", buffering=0) as writer:
        assert read(reader) == []
        writer.write(b"one\ntw")
        assert read(reader) == ["one"]
        writer.write(b"o\nthree")
        assert read(reader) == ["two"]
        assert list(reader.rest()) == ["three"]
        assert list(reader.rest()) == []
    reader.close()


@pytest.mark.parametrize(
    ("text", "lines", "shown"),
    [
        ("a\nb\nc\n", 2, ["b", "c"]),
        ("a\nb\nc", 2, ["b", "c"]),
        ("a\nb\n", 5, ["a", "b"]),
        ("a\nb\n", 0, []),
        ("", 3, []),
        ("\n\n\n", 2, ["", ""]),
        ("x" * 200_000 + "\nlast\n", 1, ["last"]),
    ],
)
def test_the_last_lines(log: Path, text: str, lines: int, shown: list[str]) -> None:
    log.write_text(text)
    reader = LogReader(log, lines)
    assert [*read(reader), *reader.rest()] == shown
    reader.close()


def test_the_last_lines_go_back_into_what_was_cut_off(log: Path) -> None:
    log.write_bytes(b"1\n2\n3\n4\n")
    assert cut(str(log), 4)
    with log.open("ab") as writer:
        writer.write(b"5\n6\n")
    reader = LogReader(log, 4)
    assert read(reader) == ["4", CUT_MARK.decode().rstrip(), "5", "6"]
    reader.close()


def test_an_endless_line_is_shown_by_its_beginning(log: Path) -> None:
    log.write_bytes(b"a" * 1_000_000 + b"\nnext\n")
    reader = LogReader(log)
    first, second = read(reader)
    assert first == "a" * LINE_BYTES + f" … ({1_000_000 - LINE_BYTES} more bytes)"
    assert second == "next"
    reader.close()


def test_reading_goes_on_over_a_cut_and_over_a_rotation(log: Path) -> None:
    reader = LogReader(log)
    writer = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.write(writer, b"before\n" * 1000)
    assert len(read(reader)) == 1000
    assert cut(str(log), 100)
    os.write(writer, b"after the cut\n")
    assert read(reader) == [CUT_MARK.decode().rstrip(), "after the cut"]
    os.write(writer, b"last words")
    os.close(writer)
    rotate(str(log))
    assert read(reader) == []
    log.write_bytes(b"another run\n")
    assert read(reader) == ["last words", "another run"]
    reader.close()


def test_a_log_that_comes_later_is_read_from_its_beginning(log: Path) -> None:
    log.unlink()
    reader = LogReader(log, 0)
    assert read(reader) == []
    log.write_text("first\n")
    assert read(reader) == ["first"]
    reader.close()
