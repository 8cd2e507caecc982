"""Guests of one disk sector, in 16-bit code: all that a test of the serial console needs, up as soon as the BIOS is."""

from __future__ import annotations

import os
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
# Writes 127 sectors at a time from 1 MiB on up to 12 MiB, with what is in the BIOS's memory, then halts. The packet of the
# extended write is Phoenix's "BIOS Enhanced Disk Drive Specification": size, sectors, offset, segment, first sector.
_PACKET = _LOAD_ADDRESS + 0x40
_WRITE = (
    bytes.fromhex("31c0 8ed8 be") + _PACKET.to_bytes(2, "little")  # xor ax, ax; mov ds, ax; mov si, packet
    + bytes.fromhex("b80043 b280 cd13")  # again: mov ax, 0x4300; mov dl, 0x80; int 0x13
    + bytes.fromhex("8106") + (_PACKET + 8).to_bytes(2, "little") + bytes.fromhex("7f00")  # add [sector], 127
    + bytes.fromhex("813e") + (_PACKET + 8).to_bytes(2, "little") + bytes.fromhex("0060")  # cmp [sector], 24576
    + bytes.fromhex("72eb f4 ebfd")  # jb again; hlt; jmp to it
).ljust(0x40, b"\0") + bytes.fromhex("1000 7f00 0000 00f0 0008000000000000")  # fmt: skip
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


def writing_disk(path: Path) -> None:
    """A guest that writes 11 MiB to its disk of 16, and then does nothing."""
    _disk(path, _WRITE, 16 << 20)


def _disk(path: Path, code: bytes, size_bytes: int = 1 << 20) -> None:
    raw = path.with_suffix(".raw")
    raw.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    os.truncate(raw, size_bytes)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
