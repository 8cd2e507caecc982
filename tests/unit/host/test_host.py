"""The machine that vmctl runs on: programs, their evidence, disk images, logs and directories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vm_manager.diagnostics.errors import FormatDetectionFailed, MissingTool, OverlayCreationFailed
from vm_manager.domain.image import SizeLimits
from vm_manager.host.paths import cache_home, data_home
from vm_manager.host.process import Limits, ProcessFailed, describe_status, run
from vm_manager.host.qemu_img import create_overlay, image_info
from vm_manager.host.text import quoted_log
from vm_manager.host.tools import find_tool

_GIB = 1024**3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with 0"),
        (3, "exited with 3"),
        (-9, "was killed by SIGKILL"),
        (-99, "was killed by signal 99"),
        (None, "did not end in time"),
    ],
)
def test_an_exit_status_is_said_in_words(status: int | None, words: str) -> None:
    assert describe_status(status) == words


def test_a_program_that_fails_keeps_its_command_line_its_end_and_the_tail_of_what_it_said() -> None:
    argv = [sys.executable, "-c", "import sys; [print(i, file=sys.stderr) for i in range(20)]; sys.exit(3)"]
    with pytest.raises(ProcessFailed) as caught:
        run(argv, timeout_s=60)
    evidence = caught.value.evidence
    assert evidence.lines[0].startswith(f"$ {sys.executable} -c ")
    assert evidence.lines[-2:] == ("19", "exited with 3")
    assert evidence.truncated


def test_a_program_gets_its_time_and_no_more() -> None:
    with pytest.raises(ProcessFailed) as caught:
        run(["sleep", "60"], timeout_s=0.05)
    assert caught.value.result.status is None


def test_output_that_is_no_utf_8_is_no_obstacle() -> None:
    assert run(["printf", r"a\377b"], timeout_s=60).stdout == "a\ufffdb"


def test_a_program_that_is_missing_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingTool, match="no-such-program is not on PATH") as caught:
        find_tool("no-such-program")
    assert caught.value.diagnostic.help[0].startswith("install")


def test_a_program_that_path_does_not_lead_to_is_named_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingTool, match="qemu-img is not on PATH") as caught:
        find_tool("qemu-img")
    assert "export PATH=" in caught.value.diagnostic.help[0]


@pytest.fixture
def qcow2(tmp_path: Path) -> Path:
    path = tmp_path / "base image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
    return path


def test_a_missing_qemu_img_is_an_overlay_that_could_not_be_made(
    monkeypatch: pytest.MonkeyPatch, qcow2: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OverlayCreationFailed) as caught:
        create_overlay(tmp_path / "overlay.qcow2", qcow2, None)
    assert caught.value.diagnostic.causes[0].code == "vm_manager::host::missing_tool"


def test_an_image_is_known_by_what_is_in_it(qcow2: Path, tmp_path: Path) -> None:
    info = image_info(qcow2)
    assert (info.format, info.virtual_size_bytes, info.depends_on) == ("qcow2", _GIB, None)
    (tmp_path / "disk.qcow2").write_bytes(b"\0" * 1024)
    assert image_info(tmp_path / "disk.qcow2").format == "raw"


@pytest.mark.parametrize("content", [b"QFI\xfb\0\0\0\x03" + b"\xff" * 100, b"QFI\xfb\0\0\0\x03"])
def test_a_header_that_cannot_be_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(FormatDetectionFailed) as caught:
        image_info(tmp_path / "disk")
    assert caught.value.diagnostic.evidence[0].title == "the header"


@pytest.mark.parametrize(
    "script", ["bytearray(1024**3)", "while True: pass", "open('big', 'wb').write(bytes(4 * 1024**2))"]
)
def test_a_program_that_takes_too_much_is_ended(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    limits = Limits(memory_bytes=512 * 1024**2, cpu_s=1, file_bytes=1024**2)
    with pytest.raises(ProcessFailed) as caught:
        run([sys.executable, "-c", script], timeout_s=60, limits=limits)
    assert caught.value.result.argv[0] == sys.executable
    assert caught.value.result.status is not None


def test_a_program_that_never_stops_talking_costs_no_memory() -> None:
    said = run(
        [sys.executable, "-c", "import os\nfor _ in range(2000): os.write(1, b'x' * 65536)"], timeout_s=60
    ).stdout
    assert 1024**2 < len(said) < 8 * 1024**2


@pytest.mark.parametrize(("size", "virtual"), [(None, _GIB), (2 * _GIB, 2 * _GIB)])
def test_an_overlay_is_as_large_as_its_base_or_as_is_wanted(
    qcow2: Path, tmp_path: Path, size: int | None, virtual: int
) -> None:
    create_overlay(tmp_path / "overlay.qcow2", qcow2, size)
    info = image_info(tmp_path / "overlay.qcow2")
    assert (info.format, info.virtual_size_bytes, info.depends_on) == ("qcow2", virtual, str(qcow2))


def test_an_overlay_on_nothing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OverlayCreationFailed):
        create_overlay(tmp_path / "overlay.qcow2", tmp_path / "none", None)
    assert list(tmp_path.glob(".*")) == []


def test_an_overlay_is_never_smaller_than_its_base(qcow2: Path, tmp_path: Path) -> None:
    with pytest.raises(OverlayCreationFailed):
        create_overlay(tmp_path / "overlay.qcow2", qcow2, _GIB // 2)


# Logs


def test_the_tail_of_a_log_is_its_last_lines_without_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n".join(b"line %d\r\n" % number for number in range(20)))
    found = quoted_log(tmp_path / "log", kind="console", title="the console", lines=3)
    assert found
    assert found.lines == ("line 17", "line 18", "line 19")
    assert (found.truncated, found.path) == (True, str(tmp_path / "log"))


def test_the_tail_of_a_flood_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff" * 1_000_000)
    found = quoted_log(tmp_path / "log", kind="console", title="the console")
    assert found
    assert found.lines[0] == "… 868928 bytes …"
    assert [len(line) for line in found.lines[1:]] == [500]


def test_a_log_that_says_nothing_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\n \r\n")
    for name in ("log", "missing"):
        assert quoted_log(tmp_path / name, kind="console", title="the console") is None


def test_a_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    found = quoted_log(tmp_path, kind="console", title="the console")
    assert found
    assert found.error == "Is a directory"


# Directories


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_a_base_directory_that_is_not_absolute_counts_as_unset(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert data_home() == Path("/home/me/.local/share/vmctl")
    assert cache_home() == Path("/home/me/.cache/vmctl")


def test_base_directories_are_where_the_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert data_home() == Path("/srv/data/vmctl")


def test_a_gap_in_the_middle_of_a_long_log_is_shown_and_tears_no_line(tmp_path: Path) -> None:
    lines = [f"line {number} no trouble" for number in range(40_000)]
    (tmp_path / "log").write_text("\n".join(lines))
    found = quoted_log(tmp_path / "log", kind="console", title="the console", lines=100_000)
    assert found is not None
    (gap,) = [at for at, line in enumerate(found.lines) if line.startswith("… ")]
    assert found.lines[:gap] == tuple(lines[:gap])
    assert found.lines[gap + 1 :] == tuple(lines[-(len(found.lines) - gap - 1) :])


def test_who_allows_larger_files_forbids_no_disk() -> None:
    usual, gib = SizeLimits(), 1024**3
    assert SizeLimits.of(None) == usual
    assert SizeLimits.of(gib) == SizeLimits(file_bytes=gib, disk_bytes=gib)
    assert SizeLimits.of(65 * gib) == SizeLimits(file_bytes=65 * gib, disk_bytes=usual.disk_bytes)
    assert SizeLimits.of(4096 * gib) == SizeLimits(file_bytes=4096 * gib, disk_bytes=4096 * gib)


_PEAK = """
import sys
from pathlib import Path
from vm_manager.diagnostics.spans import Source
from vm_manager.host.image_header import read_header
from vm_manager.vmfile.secrets import quotable
text = Path(sys.argv[1]).read_text()
(read_header if sys.argv[2] == "image" else lambda path: quotable(Source("x", text)))(Path(sys.argv[1]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # not what a fork has of its parent
"""


@pytest.mark.parametrize(
    ("reader", "head", "piece"),
    [
        ("image", "", "\n"),
        ("image", "", "#"),
        ("image", "", "#\n"),
        ("vmfile", "", "x"),
        ("vmfile", 'vm "', "x"),
        ("vmfile", 'env A "', "x"),
        ("vmfile", "env A ", ";x"),
        ("vmfile", "", "\\"),
    ],
)
def test_what_is_matched_does_not_become_a_hundred_times_its_size(
    tmp_path: Path, reader: str, head: str, piece: str
) -> None:
    (tmp_path / "text").write_text(head + piece * (2**20 // len(piece)))
    argv = [sys.executable, "-c", _PEAK, str(tmp_path / "text"), reader]
    assert int(subprocess.run(argv, capture_output=True, check=True).stdout) < 150 * 1024
