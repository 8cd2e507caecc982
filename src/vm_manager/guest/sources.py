"""Files and directories of this host as the bytes that are sent into a guest."""

from __future__ import annotations

import os
import stat
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from vm_manager.diagnostics.errors import ProvisionFailed
from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.guest.remote_scripts import END_MARK

_CHUNK = 128 * 1024
_BLOCK = tarfile.BLOCKSIZE
# In a fraction of a second; with each `up`.
_FINGERPRINTED_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Source:
    """What is to be sent. mode: a file's own permissions; size_bytes: of its content, or of all files below it."""

    path: Path
    is_directory: bool
    mode: int
    size_bytes: int


def source_of(path: Path) -> Source:
    """Look at a file or directory. Raises: `provision::failed` for what can be neither; `host::permission_denied`, `io`."""
    with os_errors(path):
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            return Source(path, False, stat.S_IMODE(status.st_mode) & 0o777, status.st_size)
        if stat.S_ISDIR(status.st_mode):
            sizes = (found.stat(follow_symlinks=False).st_size for found in _below(path) if found.is_file())
            return Source(path, True, 0o755, sum(sizes))
    raise _neither(path)


def fingerprint(path: Path, *, modes: bool) -> str:
    """A digest that changes with what a file or directory holds; of a lot of bytes, with their number and date.

    modes: whether the permissions of files count. Raises: as `source_of`.
    """
    digest, left = sha256(), _FINGERPRINTED_BYTES
    source = source_of(path)
    for found in (str(path), *(entry.path for entry in (_below(path) if source.is_directory else ()))):
        with os_errors(found):
            status = os.lstat(found) if found != str(path) else os.stat(found)
            seen: list[object] = [os.path.relpath(found, path), status.st_mode if modes else None]
            if stat.S_ISLNK(status.st_mode):
                seen.append(os.readlink(found))
            elif stat.S_ISREG(status.st_mode) and status.st_size <= left:
                digest.update(Path(found).read_bytes())
                left -= status.st_size
            elif stat.S_ISREG(status.st_mode):
                seen += [status.st_size, status.st_mtime_ns]
        digest.update(repr(seen).encode())
    return digest.hexdigest()[:16]


def file_chunks(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The content of a file that has this size.

    Raises: `provision::failed` when the file is changed meanwhile, before the last of it is handed out: the guest, which
    waits for so many bytes, then puts nothing into place. `host::permission_denied`, `io`.
    """
    with os_errors(path), path.open("rb") as file:
        before = os.fstat(file.fileno())
        yield from _exactly(file, path, size_bytes, before)


def directory_chunks(path: Path, mode: int | None) -> Iterator[bytes]:
    """A directory with all below it, symbolic links as such, as a tar archive that ends with the member `END_MARK`.

    mode: of the files; directories get the right to enter where it gives one to read. None: everything keeps its own.
    Raises: `provision::failed` for what is no file, directory or link, or is changed meanwhile; `host::permission_denied`.
    """
    yield _header(".", path, path.stat(), mode)
    for entry in _below(path):
        name = os.path.relpath(entry.path, path)
        with os_errors(entry.path):
            status = entry.stat(follow_symlinks=False)
            yield _header(name, Path(entry.path), status, mode)
            if stat.S_ISREG(status.st_mode):
                with open(entry.path, "rb") as file:
                    yield from _exactly(file, Path(entry.path), status.st_size, status)
                yield bytes(-status.st_size % _BLOCK)
    yield tarfile.TarInfo(END_MARK).tobuf(tarfile.GNU_FORMAT) + bytes(2 * _BLOCK)


def _exactly(file: BinaryIO, path: Path, size_bytes: int, before: os.stat_result) -> Iterator[bytes]:
    left = size_bytes
    while left > 0:
        data = file.read(min(left, _CHUNK))
        left -= len(data)
        after = os.fstat(file.fileno())
        if not data or (after.st_size, after.st_mtime_ns) != (size_bytes, before.st_mtime_ns):
            raise ProvisionFailed(
                "{path} changed while it was being sent", {"path": str(path)}, help=("run the command again",)
            )
        yield data


def _below(directory: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a directory, each directory before what is in it, in the order of the names."""
    with os_errors(directory):
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))


def _header(name: str, path: Path, status: os.stat_result, mode: int | None) -> bytes:
    member = tarfile.TarInfo(name)
    member.mtime = int(time.time())
    own = stat.S_IMODE(status.st_mode) & 0o777
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        # Whoever puts it into place has to write into it.
        member.mode = 0o700 | (own if mode is None else mode | (mode & 0o444) >> 2)
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISREG(status.st_mode):
        member.size, member.mode = status.st_size, own if mode is None else mode
    else:
        raise _neither(path)
    # GNU's form of long names is known to every tar; names that are no UTF-8 come through to the byte.
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _neither(path: Path) -> ProvisionFailed:
    return ProvisionFailed(
        "{path} is neither a file nor a directory",
        {"path": str(path)},
        help=("provision regular files, directories and symbolic links only",),
    )
