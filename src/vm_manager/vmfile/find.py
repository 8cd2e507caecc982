"""Finding the VMFile that is meant when none is named, and obeying it only when it is the caller's.

A VMFile says which files of this host go into a guest, and which programs run in it. So one that merely stands where the search
comes past must not count: it would put the caller's keys into somebody else's VM.
"""

from __future__ import annotations

import os
import shlex
import stat
from itertools import islice
from pathlib import Path

from vm_manager.diagnostics.errors import VmFileError, VmFileNotFound, VmFileParseFailed, VmFileUntrusted
from vm_manager.domain.names import closest
from vm_manager.domain.owners import is_trusted, others_may_write, user_name

FILE_NAME = "VMFile.kdl"
# What it is called by mistake, in lower case.
_OTHER_NAMES = ("vmfile.kdl", "vmfile", "vmfile.kdl.txt", "vmfile.txt")
# Whoever comes from another tool tries its directory first.
_OF_OTHER_TOOLS = (
    *("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"),
    *("Vagrantfile", "lima.yaml", "Dockerfile", "main.tf", "cloud-config.yaml"),
)
_RENAME = "rename the directory, or pass a VMFile with `--file PATH`"
_USE_A_FILE = "use a VMFile: a text file of at most 1 MiB"
# A directory may have millions.
_MOST_FILES = 1000


def find(start: Path) -> Path:
    """The VMFile of a directory, or else of the nearest parent. The search ends at a directory that is another user's.

    Raises: `vmfile::not_found`, `vmfile::untrusted`.
    """
    instead: list[Path] = []
    for directory in (start, *start.resolve().parents):
        path = directory / FILE_NAME
        if os.path.isfile(path):
            _require_trusted(path)
            return path
        if os.path.lexists(path):
            instead.append(path)
        if owner := _other_owner(directory):
            raise _missing(start, instead, f"the search ended at {directory}, which belongs to {owner}")
    raise _missing(start, instead)


def _missing(start: Path, instead: list[Path], *notes: str) -> VmFileError:
    """There is no VMFile. instead: what has its name and is no file, the nearest first."""
    return no_file(instead[0]).enrich(notes=notes) if instead else _not_found(start, *notes)


def no_file(path: Path) -> VmFileError:
    """What stands in the place of a VMFile and is no file: a directory, a link that leads nowhere, a pipe; or nothing does."""
    shown = {"path": str(path)}
    if path.is_dir():
        inside = path / FILE_NAME
        help = f"use the VMFile in it: `--file {shlex.quote(str(inside))}`" if inside.is_file() else _RENAME
        return VmFileParseFailed("{path} is a directory, not a VMFile", shown, help=(help,))
    if path.exists():
        return VmFileParseFailed("{path} is not a regular file", shown, help=(_USE_A_FILE,))
    if path.is_symlink():
        to = os.readlink(path)
        help = (
            f"put the file there, or make the link lead to another: `readlink -f {shlex.quote(str(path))}` says where"
        )
        return VmFileNotFound("{path} is a link to {to}, which does not exist", {**shown, "to": to}, help=(help,))
    near = closest(path.name, _files(path.parent))
    meant = (f"did you mean `--file {shlex.quote(str(path.with_name(near)))}`?",) if near else ()
    return VmFileNotFound("{path} does not exist", shown, help=(*meant, VmFileNotFound.entry.help))


def _files(directory: Path) -> tuple[str, ...]:
    try:
        with os.scandir(directory) as entries:
            return tuple(entry.name for entry in islice(entries, _MOST_FILES) if entry.is_file())
    except OSError:
        return ()


def _require_trusted(path: Path) -> None:
    """Refuse a VMFile that others wrote or may write. Where it is a link: the link, and what it leads to."""
    for file in dict.fromkeys((path, path.resolve())):
        _require_trusted_file(path, file)


def _require_trusted_file(path: Path, file: Path) -> None:
    directory, status = file.parent.stat(), file.lstat()
    if not is_trusted(status.st_uid):
        raise _untrusted(path, "it belongs to {owner}", owner=user_name(status.st_uid))
    if not is_trusted(directory.st_uid):
        raise _untrusted(path, "its directory belongs to {owner}", owner=user_name(directory.st_uid))
    # In a sticky directory such as /tmp nobody can put another file in the place of one that is not his.
    if others_may_write(directory) and not directory.st_mode & stat.S_ISVTX:
        raise _untrusted(path, "other users can write to its directory", mend=file.parent)
    if not stat.S_ISLNK(status.st_mode) and others_may_write(status):
        raise _untrusted(path, "other users can write to it", mend=file)


def _untrusted(path: Path, why: str, *, owner: str = "", mend: Path | None = None) -> VmFileUntrusted:
    keep_out = (f"or remove write access for others: `chmod go-w {shlex.quote(str(mend))}`",) if mend else ()
    return VmFileUntrusted(
        "{path} is not trusted: " + why,
        {"path": str(path), "owner": owner},
        help=(f"read it; if you trust it, pass it explicitly: `--file {shlex.quote(str(path))}`", *keep_out),
        notes=(
            "a VMFile controls which of your files are copied into a guest, so vmctl only uses one it finds if it is yours",
        ),
    )


def _other_owner(directory: Path) -> str:
    """The user that a directory belongs to if it is neither the caller's nor root's."""
    try:
        owner = directory.stat().st_uid
    except OSError:
        return ""
    return "" if is_trusted(owner) else user_name(owner)


def _not_found(start: Path, *notes: str) -> VmFileNotFound:
    files = _files(start)
    other = next((name for name in files if name.lower() in _OTHER_NAMES), None)
    foreign = next((name for name in _OF_OTHER_TOOLS if name in files), None)
    if foreign:
        notes = (*notes, f"there is a {foreign}, but vmctl reads VMFiles only")
    return VmFileNotFound(
        "no {file} in {directory} or its parent directories",
        {"file": FILE_NAME, "directory": str(start)},
        notes=notes,
        help=(_renamed(start / other),) if other else (VmFileNotFound.entry.help,),
    )


def _renamed(path: Path) -> str:
    right = shlex.quote(str(path.with_name(FILE_NAME)))
    return f"{path.name} is not found by itself: rename it with `mv -n {shlex.quote(str(path))} {right}`"
