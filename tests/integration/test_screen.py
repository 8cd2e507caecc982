"""`vmctl screenshot` and `vmctl vnc`, with real QEMU and a firmware that shows something."""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import subprocess
import zlib
from pathlib import Path

import pexpect
import pytest

from driver import LIMIT_S, VMCTL, Vmctl, interrupted, wait_for
from vm_manager.backends.qemu.sockets import socket_path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file, each with a checksum that is right."""
    assert png.startswith(_SIGNATURE)
    found, at = [], len(_SIGNATURE)
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + data) == struct.unpack_from(">I", png, at + 8 + size)[0]
        found.append((kind, data))
        at += 12 + size
    return found


def _picture(png: bytes) -> tuple[int, int, set[int]]:
    """The width and height of a picture, and the bytes that occur in it."""
    chunks = _chunks(png)
    assert (chunks[0][0], chunks[-1][0]) == (b"IHDR", b"IEND")
    width, height = struct.unpack_from(">II", chunks[0][1])
    return width, height, set(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))


@pytest.fixture
def up(blank: Vmctl) -> Vmctl:
    """A VM whose firmware finds nothing to boot, and says so on the screen."""
    blank("up")
    return blank


def test_a_screenshot_is_a_picture_of_what_the_firmware_says(up: Vmctl) -> None:
    file = up.directory / "blank.png"

    def shows_text() -> bool:
        assert up("screenshot", "blank").stdout == "blank: wrote blank.png\n"
        width, height, values = _picture(file.read_bytes())
        assert width >= 640
        assert height >= 350
        return len(values) > 2

    wait_for(shows_text, "a screen with text")
    up("suspend", "blank")
    up("screenshot", "blank", "as it is.png")
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((up.directory / "as it is.png").stat().st_mode) == 0o666 & ~umask
    as_it_is = _picture((up.directory / "as it is.png").read_bytes())
    assert as_it_is[2] > {0}
    with (up.directory / "piped").open("wb") as piped:
        command = [str(VMCTL), "screenshot", "blank", "-"]
        subprocess.run(command, stdout=piped, cwd=up.directory, env=up.environment(), check=True, timeout=LIMIT_S)
    assert _picture((up.directory / "piped").read_bytes()) == as_it_is


def test_a_picture_is_not_for_a_terminal(up: Vmctl) -> None:
    child = pexpect.spawn(
        str(VMCTL),
        ["screenshot", "blank", "-"],
        cwd=str(up.directory),
        env=up.environment(COLUMNS="200"),
        encoding="utf-8",
        timeout=LIMIT_S,
    )
    shown = child.read()
    child.close()
    assert child.exitstatus == 2
    assert "a picture cannot be shown on a terminal" in shown
    assert "`vmctl screenshot blank blank.png`" in shown


def test_what_has_no_screen_has_no_picture(blank: Vmctl) -> None:
    blank("up", "--backend", "noop")
    for command in ("screenshot", "vnc"):
        assert "the noop backend has no graphical screen" in blank(command, "blank", status=6).stderr
    blank("destroy", "blank")
    blank("create", "--name", "off", "--image", "blank.qcow2", "--memory", "32")
    for command in ("screenshot", "vnc"):
        stopped = blank(command, "off", status=5)
        assert stopped.code == "vm_manager::vm::invalid_state"
        assert f"`vmctl {command}` requires a running VM" in stopped.stderr
    assert blank("screenshot", "of", status=4).code == "vm_manager::vm::not_found"


def test_nothing_but_an_older_picture_is_replaced(up: Vmctl) -> None:
    link, fifo = up.directory / "link.png", up.directory / "fifo"
    link.symlink_to("VMFile.kdl")
    os.mkfifo(fifo)
    text = (up.directory / "VMFile.kdl").read_text()
    for name in ("VMFile.kdl", "link.png", "fifo", ".", "/dev/null", "blank.qcow2"):
        refused = up("screenshot", "blank", name, status=2)
        assert f"{name} already exists" in refused.stderr
        assert "choose another file name" in refused.stderr
    assert (up.directory / "VMFile.kdl").read_text() == text
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    up("screenshot", "blank", "new.png")
    up("screenshot", "blank", "new.png")


def test_a_picture_that_cannot_be_written_is_told(up: Vmctl) -> None:
    with open("/dev/full", "wb") as full:
        command = [str(VMCTL), "screenshot", "blank", "-"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, cwd=up.directory, env=up.environment(), check=False
        )
    assert (done.returncode, b"host::disk_full" in done.stderr) == (6, True), done.stderr
    told = up("screenshot", "blank", "missing/screen.png", status=None)
    assert told.code == "vmctl::usage"
    assert "the directory missing does not exist" in told.stderr
    assert "`mkdir -p missing`" in told.stderr


def _speaks_vnc(connection: socket.socket) -> bool:
    """Source: RFC 6143, section 7.1.1."""
    with connection:
        connection.settimeout(LIMIT_S)
        return connection.recv(12) == b"RFB 003.008\n"


def test_the_screen_is_served_at_a_socket_of_ones_own(up: Vmctl) -> None:
    said = up("vnc", "blank")
    path = Path(re.fullmatch(r"vncviewer (\S+)\n", said.stdout)[1])  # type: ignore[index]
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "`vmctl vnc blank --port 5900`" in said.stderr
    here = socket.socket(socket.AF_UNIX)
    with socket_path(path.parent, path.name) as short:
        here.connect(short)
    assert _speaks_vnc(here)


def test_the_screen_is_served_by_tcp_on_demand_and_until_ctrl_c(up: Vmctl) -> None:
    serving = up.start("vnc", "blank", "--port", "0", start_new_session=True)
    assert serving.stderr is not None
    line = serving.stderr.readline()
    found = re.search(r"127\.0\.0\.1:(\d+), open to every user of this host", line)
    assert found, line
    port = int(found[1])
    for _ in range(3):
        assert _speaks_vnc(socket.create_connection(("127.0.0.1", port), LIMIT_S))
    taken = up("vnc", "blank", "--port", str(port), status=6)
    assert taken.code == "vm_manager::network::port_unavailable"
    assert "`vmctl vnc blank --port 0` picks a free one" in taken.stderr
    assert interrupted(serving).status == 0


def test_a_screen_is_seen_while_another_command_holds_the_vm(up: Vmctl) -> None:
    waiting = up.start("stop", "blank", "--timeout", "60", start_new_session=True)
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == "blank: stopping\n"
    up("screenshot", "blank")
    assert waiting.poll() is None
    interrupted(waiting)
