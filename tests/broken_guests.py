"""Guests that are really broken: disks that do not boot, or not to the end."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from driver import GUEST_TOOLS

# Sixteen-bit code for a boot sector; the firmware jumps to its first byte. Source: Intel SDM; Ralf Brown's interrupt list.
#: Sleeps for ever: sti; hlt, again and again.
SLEEPS = bytes.fromhex("fb f4 eb fd")
#: Runs, and does nothing.
SPINS = bytes.fromhex("eb fe")
#: Restarts by the keyboard controller, as soon as it runs.
RESTARTS = bytes.fromhex("b0 fe e6 64 f4 eb fd")
#: Reads a sector (int 13h) and waits a second (int 15h), for ever.
READS = bytes.fromhex("31c0 8ec0 bb0080 b80102 b90200 ba8000 cd13 b486 b90f00 ba4042 cd15 ebe2")

_LATE = b"\r\nKernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\r\n"
_DISK_BYTES = 16 << 20
_PARTITION = 1 << 20
_DEBIAN_PARTITION = 17 << 20
_MODULES = ("biosdisk", "part_msdos", "ext2", "linux", "serial", "terminal", "boot", "echo", "ls")
_SERIAL = "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n"


def boot_sector(path: Path, code: bytes) -> Path:
    """A disk with nothing but code in its first sector."""
    with path.open("wb") as file:
        file.write(code.ljust(510, b"\0") + b"\x55\xaa")
        file.truncate(_DISK_BYTES)
    return path


def panics_at_first(path: Path, boots: int) -> Path:
    """A disk whose guest says so many times that its kernel has panicked over a late timer, and then does nothing.

    It counts its boots in the second sector.
    """
    code = (
        bytes.fromhex("31c0 8ed8 8ec0")  # xor ax, ax; mov ds, ax; mov es, ax
        + bytes.fromhex("b80102 bb0080 b90200 ba8000 cd13")  # the sector at 0x8000: int 13h, ah = 2
        + bytes.fromhex("803e0080") + bytes([boots])  # cmp byte [0x8000], boots
        + bytes.fromhex("731e fe060080")  # jae end; inc byte [0x8000]
        + bytes.fromhex("b80103 bb0080 b90200 ba8000 cd13")  # back: int 13h, ah = 3
        + b"\xfc\xbe" + (0x7C80).to_bytes(2, "little")  # cld; mov si, text
        + b"\xb9" + len(_LATE).to_bytes(2, "little")  # mov cx, length
        + bytes.fromhex("baf803 f36e")  # mov dx, 0x3f8; rep outsb
    ) + SLEEPS  # fmt: skip
    return boot_sector(path, code.ljust(0x80, b"\0") + _LATE)


def without_root_file_system(tiny: Path, path: Path, *, serial: bool = True) -> Path:
    """The tiny guest's disk, its partition wiped: GRUB finds neither kernel nor configuration.

    serial: whether GRUB speaks on the serial line, too, or on the screen only.
    """
    _raw(tiny, path)
    with path.open("r+b") as file:
        file.seek(_PARTITION)
        file.write(bytes(4 << 20))
    _grub(path, (_SERIAL if serial else "") + "set root=(hd0,msdos1)\nlinux /vmlinuz\n")
    return path


def tiny_with(
    tiny: Path, path: Path, *, options: str = "", files: Mapping[str, str] | None = None, serial: bool = True
) -> Path:
    """The tiny guest with other options for its kernel, or other files in its initramfs.

    serial: whether boot loader and kernel speak on the serial line, or on the screen only.
    """
    parts = path.parent / f"{path.stem}-parts"
    boot, extra = parts / "boot", parts / "extra"
    boot.mkdir(parents=True)
    extra.mkdir()
    _raw(tiny, path)
    for name in ("vmlinuz", "initrd"):
        _run("/sbin/debugfs", "-R", f"dump /{name} {boot / name}", f"{path}?offset={_PARTITION}")
    for name, text in (files or {}).items():
        (extra / name).parent.mkdir(parents=True, exist_ok=True)
        (extra / name).write_text(text)
        (extra / name).chmod(0o755)
    if files:
        # The kernel unpacks one archive after the other: the last file of a name stays.
        more = _run("sh", "-c", "find . -type f | cpio --quiet -o -H newc -R +0:+0 | gzip", cwd=extra)
        (boot / "initrd").write_bytes((boot / "initrd").read_bytes() + more)
    size = f"{(path.stat().st_size - _PARTITION) >> 20}M"
    geometry = ("-b", "4096", "-E", f"offset={_PARTITION}", "-d", str(boot))
    _run("/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-m", "0", *geometry, str(path), size)
    command = f"linux /vmlinuz {'console=ttyS0,115200 ' * serial}{options}\ninitrd /initrd\nboot\n"
    _grub(path, f"{_SERIAL * serial}set root=(hd0,msdos1)\n{command}")
    return path


def debian_without_root(debian: Path, path: Path) -> Path:
    """The Debian guest, whose kernel is told of a root file system that does not exist."""
    _raw(debian, path)
    command = "linux /vmlinuz root=/dev/none rootdelay=1 console=ttyS0,115200\ninitrd /initrd.img\nboot\n"
    _grub(path, f"{_SERIAL}set root=(hd0,msdos2)\n{command}")
    return path


def debian_with(debian: Path, path: Path, *, files: Mapping[str, str] | None = None, masked: str | None = None) -> Path:
    """The Debian guest with other files below /etc, or with a systemd unit masked."""
    _raw(debian, path)
    commands = [f"symlink /etc/systemd/system/{masked} /dev/null"] if masked else []
    for number, (name, text) in enumerate((files or {}).items()):
        content = path.parent / f"{path.stem}-{number}"
        content.write_text(text)
        commands += [f"rm /etc/{name}", f"write {content} /etc/{name}"]
    script = "\n".join(commands).encode()
    disk = f"{path}?offset={_DEBIAN_PARTITION}"
    subprocess.run(["/sbin/debugfs", "-w", "-f", "-", disk], input=script, check=True, capture_output=True)
    return path


def tiny_rc(**replaced: str) -> Mapping[str, str]:
    """The tiny guest's own start script, its lines that begin with a word replaced."""
    recipe = (GUEST_TOOLS / "build-tiny").read_text()
    text = recipe.split("file 755 etc/rc <<'END'\n", 1)[1].split("END\n", 1)[0]
    for word, line in replaced.items():
        text, count = re.subn(rf"^.*\b{word} .*$", line, text, flags=re.MULTILINE)
        assert count == 1, word
    return {"etc/rc": text}


def _raw(image: Path, path: Path) -> None:
    _run("qemu-img", "convert", "-O", "raw", str(image), str(path))


def _grub(disk: Path, config: str) -> None:
    work = disk.parent / f"{disk.stem}-grub"
    work.mkdir()
    (work / "early.cfg").write_text(config)
    script = f'. {GUEST_TOOLS / "recipe.bash"}; work={work}; boot_sectors {disk} "$work/early.cfg" {" ".join(_MODULES)}'
    _run("bash", "-euc", script)


def _run(*command: str, cwd: Path | None = None) -> bytes:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True).stdout
