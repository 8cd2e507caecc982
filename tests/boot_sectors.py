"""Guests of one disk sector, in 16-bit code: all that a test of the serial console needs, up as soon as the BIOS is."""

from __future__ import annotations

import subprocess
from pathlib import Path

_LOAD_ADDRESS = 0x7C00
# COM1 of a PC, a 16550: data at 0x3f8, line status at 0x3fd with bit 0 "a byte is here" and bit 5 "may send". With its
# FIFO on, QEMU hands it 16 bytes at a time.
_ECHO = bytes.fromhex(
    "ba fa 03 b0 01 ee"  # mov dx, 0x3fa; mov al, 1; out dx, al
    "ba fd 03"  # again: mov dx, 0x3fd
    "ec a8 01 74 fb"  # nothing: in al, dx; test al, 1; jz nothing
    "ba f8 03 ec 88 c4"  # mov dx, 0x3f8; in al, dx; mov ah, al
    "ba fd 03"  # mov dx, 0x3fd
    "ec a8 20 74 fb"  # busy: in al, dx; test al, 0x20; jz busy
    "ba f8 03 88 e0 ee"  # mov dx, 0x3f8; mov al, ah; out dx, al
    "eb e2"  # jmp again
)
_LINE = b"flood " * 10 + b"\r\n"
_FLOOD = bytes.fromhex("31c0 8ed8 fc baf803") + (  # xor ax, ax; mov ds, ax; cld; mov dx, 0x3f8
    b"\xbe" + (_LOAD_ADDRESS + 0x80).to_bytes(2, "little")  # again: mov si, line
    + b"\xb9" + len(_LINE).to_bytes(2, "little")  # mov cx, length
    + bytes.fromhex("f36e ebf6")  # rep outsb; jmp again
)  # fmt: skip
_SILENT = bytes.fromhex("f4 ebfd")  # again: hlt; jmp again


def echo_disk(path: Path) -> None:
    """A guest that sends back every byte of its serial port, and reads none before the last one is sent."""
    _disk(path, _ECHO)


def flood_disk(path: Path) -> None:
    """A guest that writes to its serial port as fast as it can, for ever."""
    _disk(path, _FLOOD.ljust(0x80, b"\0") + _LINE)


def silent_disk(path: Path) -> None:
    """A guest that does nothing."""
    _disk(path, _SILENT)


def _disk(path: Path, code: bytes) -> None:
    raw = path.with_suffix(".raw")
    raw.write_bytes((code.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
