"""Reading a VMFile and the files that it names: regular ones, and no more of them than can be meant."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from vm_manager.domain.file_systems import made_up

_KIB = 1024
# What clouds take is far below: 16 KiB on EC2, 64 KiB on OpenStack and Azure; the NoCloud datasource sets no limit of its own.
USER_DATA_BYTES = 1024 * _KIB
# Ten times an RSA key of 16384 bits, and far more than an authorized_keys line.
KEY_BYTES = 64 * _KIB
SCRIPT_BYTES = 16 * 1024 * _KIB
# Files there are windows on the system and on this very process, with what only its user may know, and some never end.
_NO_INPUTS = ("/proc", "/sys", "/dev")
_SHARED_MEMORY = "/dev/shm"


class UnfitFile(Exception):
    """A file that is no input. problem: a predicate, such as "is not a regular file"."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def require_input(path: Path) -> None:
    """Refuse what the kernel or a device makes up, however it is reached. Raises: UnfitFile."""
    for name in (os.path.abspath(path), os.path.realpath(path)):
        if _is_below(name, _NO_INPUTS) and not _is_below(name, (_SHARED_MEMORY,)):
            raise UnfitFile("is in /proc, /sys or /dev, which vmctl does not read")
    with suppress(OSError):  # whoever opens it is told
        _require_stored(path)


def read_input(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file. Raises: OSError, UnfitFile, also when it has more than that many bytes."""
    content = read_head(path, most_bytes + 1)
    if len(content) > most_bytes:
        raise UnfitFile(f"is larger than {_shown(most_bytes)}")
    return content


def read_head(path: Path, most_bytes: int) -> bytes:
    """The first bytes of a regular file. Raises: OSError, UnfitFile."""
    require_input(path)
    # A pipe must not be waited for, and what is looked at must be what is read.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _require_stored(descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnfitFile("is a directory")
        if not stat.S_ISREG(mode):
            raise UnfitFile("is not a regular file")
        return file.read(most_bytes)


def _require_stored(file: int | Path) -> None:
    if kind := made_up(file):
        raise UnfitFile(f"is on a {kind} file system, which vmctl does not read")


def _is_below(name: str, directories: tuple[str, ...]) -> bool:
    return any(name == directory or name.startswith(f"{directory}/") for directory in directories)


def _shown(size: int) -> str:
    return f"{size // _KIB**2} MiB" if size >= _KIB**2 else f"{size // _KIB} KiB"
