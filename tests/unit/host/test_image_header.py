"""Headers of disk images that nobody would write: a header, or a diagnostic with a code; nothing else comes out.

VMCTL_FUZZ_DOCUMENTS says how many are tried; `make fuzz` tries 10,000. None may take more than two seconds.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_manager.diagnostics.errors import FormatDetectionFailed
from vm_manager.host.image_header import ImageHeader, read_header
from within import quickly

_HEADERS = int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "2000"))
_NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    8,
    9,
    21,
    22,
    72,
    104,
    112,
    512,
    1023,
    1024,
    65536,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    (1 << 64) - 1,
]
_EXTENSIONS = [0, 0xE2792ACA, 0x6803F857, 0x23852875, 0x0537BE77, 0x44415441]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers")


@pytest.fixture(scope="module")
def sound(directory: Path) -> bytes:
    """The beginning of an image with everything that a header may have."""
    path = directory / "sound"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
    return path.read_bytes()[:4096]


def _read(directory: Path, content: bytes) -> ImageHeader | None:
    """The header; None when it was refused, which is all else that may happen."""
    path = directory / "image"
    path.write_bytes(content)
    try:
        return quickly(lambda: read_header(path))
    except FormatDetectionFailed:
        return None


def _check(content: bytes, header: ImageHeader | None) -> None:
    """What is said to be whole names no other file, seen in another way."""
    if header is None or header.format != "qcow2" or header.depends_on is not None:
        return
    assert content[8:20] == bytes(12)
    assert struct.unpack_from(">I", content, 4)[0] == 2 or not content[79] & 4


_CHANGES = st.lists(
    st.tuples(
        st.integers(0, 200), st.sampled_from(_NUMBERS) | st.sampled_from(_EXTENSIONS), st.sampled_from([1, 4, 8])
    ),
    max_size=5,
)


def _changed(content: bytes, changes: list[tuple[int, int, int]]) -> bytes:
    changed = bytearray(content)
    for place, number, length in changes:
        changed[place : place + length] = (number % (1 << 8 * length)).to_bytes(length, "big")
    return bytes(changed)


@settings(max_examples=_HEADERS * 3 // 4, deadline=None, database=None)
@given(changes=_CHANGES, end=st.none() | st.integers(0, 300))
def test_any_change_to_a_header_is_read_or_diagnosed(
    directory: Path, sound: bytes, changes: list[tuple[int, int, int]], end: int | None
) -> None:
    content = _changed(sound, changes)[:end]
    _check(content, _read(directory, content))


@settings(max_examples=_HEADERS // 4, deadline=None, database=None)
@given(
    rest=st.binary(max_size=300),
    magic=st.sampled_from([b"QFI\xfb\0\0\0\x02", b"QFI\xfb\0\0\0\x03", b"KDMV", b"#", b""]),
)
def test_any_bytes_are_read_or_diagnosed(directory: Path, rest: bytes, magic: bytes) -> None:
    _check(magic + rest, _read(directory, magic + rest))


def test_what_is_said_to_be_whole_is_so_for_qemu_too(directory: Path, sound: bytes) -> None:
    chance = random.Random(7)
    for _ in range(60):
        changes = [(chance.randrange(4, 200), chance.choice(_NUMBERS + _EXTENSIONS), 4) for _ in range(2)]
        content = _changed(sound, changes)
        header = _read(directory, content)
        if header and header.format == "qcow2" and header.depends_on is None:
            info = ["qemu-img", "info", "-f", "qcow2", str(directory / "image")]
            said = subprocess.run(info, capture_output=True, text=True, check=False).stdout
            assert "backing file" not in said
            assert "data file:" not in said


def test_a_text_of_a_million_empty_lines_is_read_at_once(directory: Path) -> None:
    assert _read(directory, b"\n" * 1_000_000 + b"version=1\n") == ImageHeader(
        "vmdk", 1_000_010, data_file="one of its extents"
    )
    header = _read(directory, b"#\n \n" * 400_000)
    assert header
    assert header.format == "raw"
