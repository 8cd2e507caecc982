"""Finding the VMFile that is meant when none is named, and obeying it only when it is the caller's.

A VMFile says which files of this host go into a guest, and which programs run in it. So one that merely stands where the search
comes past must not count: it would put the caller's keys into somebody else's VM.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from vm_manager.diagnostics.errors import VmFileNotFound, VmFileUntrusted
from vm_manager.domain.owners import is_trusted, others_may_write, user_name

FILE_NAME = "VMFile.kdl"


def find(start: Path) -> Path:
    """The VMFile of a directory, or else of the nearest parent. The search ends at a directory that is another user's.

    Raises: `vmfile::not_found`, `vmfile::untrusted`.
    """
    for directory in (start, *start.resolve().parents):
        path = directory / FILE_NAME
        if os.path.isfile(path):
            _require_trusted(path)
            return path
        if owner := _other_owner(directory):
            raise _not_found(start, f"the search ended at {directory}, which belongs to {owner}")
    raise _not_found(start)


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
    return VmFileNotFound(
        "no {file} in {directory} or its parent directories", {"file": FILE_NAME, "directory": str(start)}, notes=notes
    )
