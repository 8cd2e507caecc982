"""Whose files are obeyed, and whose are written: one rule for VMFiles, data directories, caches and all that is in them.

After git's `safe.directory` (CVE-2022-24765) and OpenSSH's StrictModes: what other users own or may write is not ours, and is
neither obeyed nor written. docs/adr/0013-owners.md has the reasons.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vm_manager.diagnostics.errors import StateUntrusted
from vm_manager.diagnostics.os_errors import os_errors

# Links may lead to links, in circles, too.
_MOST_DIRECTORIES = 200
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
}


def is_trusted(uid: int) -> bool:
    """Whether what this user wrote may be obeyed: the caller, root, and behind sudo whoever typed it."""
    me = os.geteuid()
    return uid in (me, 0) or (me == 0 and str(uid) == os.environ.get("SUDO_UID"))


def others_may_write(status: os.stat_result) -> bool:
    """Whether somebody else than the owner may write; the group that only the owner is in (umask 002) is nobody else."""
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_private_group(status.st_uid, status.st_gid)


def user_name(uid: int) -> str:
    """A user, for people."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def require_own_place(path: Path, variable: str = "XDG_DATA_HOME") -> None:
    """Refuse a directory as `require_own_directory` does, and where somebody could put another in its place.

    That is whoever owns a directory or a link on the way to it, or can write there, unless it is sticky as /tmp is; also on the
    way to where links lead.
    Raises: `state::untrusted`, `host::permission_denied`.
    """
    require_own_directory(path, variable)
    for directory in _way_to(path):
        _require_safe_way(directory, variable)


def _way_to(path: Path) -> Iterator[Path]:
    """All directories and links that lead to a path, but for the home directory and those above it.

    Whoever controls these has the caller's shell and keys anyway: in containers they are often another user's.
    """
    at_home = {way for home in _homes() for way in (home, *home.parents)}
    todo, seen = [path.absolute(), Path(os.path.realpath(path))], set[Path]()
    while todo and len(seen) < _MOST_DIRECTORIES:
        found = todo.pop()
        for directory in (found, *found.parents):
            if directory in seen or directory in at_home:
                continue
            seen.add(directory)
            yield directory
            with suppress(OSError):  # not a link, or nothing
                todo.append(Path(os.path.normpath(directory.parent / directory.readlink())))


def _homes() -> tuple[Path, ...]:
    try:
        return Path.home(), Path(os.path.realpath(Path.home()))
    except RuntimeError:  # neither HOME nor an entry in /etc/passwd
        return ()


def _require_safe_way(directory: Path, variable: str) -> None:
    with os_errors(directory):
        try:
            link, status = os.lstat(directory), os.stat(directory)
        except FileNotFoundError:
            return
    for owner in (link.st_uid, status.st_uid):
        if not is_trusted(owner) and not _is_unmapped(owner):
            raise _of_another(directory, owner, variable)
    if others_may_write(status) and not status.st_mode & stat.S_ISVTX:
        ways: tuple[str, ...] = (f"use a directory outside of {directory}: set {variable}",)
        if status.st_uid == os.geteuid():
            ways = (f"keep others out: `chmod go-w {shlex.quote(str(directory))}`", *ways)
        raise StateUntrusted(
            "other users may write to {path}, and could replace vmctl's directory in it",
            {"path": str(directory)},
            help=ways,
        )


def _is_unmapped(uid: int) -> bool:
    """Whether a user namespace keeps to itself who that is: in a rootless container / may be the host's root's.

    Source: user_namespaces(7), "Unmapped user and group IDs".
    """
    try:
        with open("/proc/self/uid_map", "rb") as ranges, open("/proc/sys/kernel/overflowuid", "rb") as overflow:
            everybody = ranges.read(100).split() == [b"0", b"0", b"4294967295"]
            return not everybody and int(overflow.read(20)) == uid
    except (OSError, ValueError):
        return False


def require_own_directory(path: Path, variable: str = "XDG_DATA_HOME") -> None:
    """Refuse a directory that others own or may write, who could have put anything into it. One that is not there is fine.

    variable: of the environment, that leads elsewhere.
    Raises: `state::untrusted`, `host::permission_denied`.
    """
    with os_errors(path):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return
    if status.st_uid != os.geteuid():
        raise _of_another(path, status.st_uid, variable)
    if others_may_write(status):
        name, me = shlex.quote(str(path)), shlex.quote(user_name(status.st_uid))
        raise StateUntrusted(
            "other users may write to {path}",
            {"path": str(path)},
            help=(
                f"check that everything in it is yours, `find {name} ! -user {me}`, then keep others out: `chmod go-w {name}`",
            ),
        )


def require_plain(home: Path) -> None:
    """Refuse a directory of ours in which links, pipes or devices stand: whoever opens these works on something else.

    Raises: `state::untrusted`, `host::permission_denied`, `io`.
    """
    with os_errors(home), os.scandir(home) as entries:
        for entry in entries:
            if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISSOCK(status.st_mode):
                    raise _no_file(entry.path, status)


def open_own(path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> int:
    """Open a file of ours as os.open(2) does, or an opener for open(); never through a link, and never waiting for a pipe.

    Raises: `state::untrusted` for all that is no regular file of this user, and for writing also what has a second name;
    `OSError`.
    """
    try:
        # O_TRUNC comes last: what turns out not to be ours must be as it was.
        careful = (flags & ~os.O_TRUNC) | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, careful, mode)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise _no_file(path, os.lstat(path)) from error
    try:
        _require_own_file(path, os.fstat(descriptor), writing=bool(flags & _WRITING))
        os.set_blocking(descriptor, True)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_own(path: Path, limit_bytes: int) -> bytes:
    """The content of a file of ours. Raises: `state::untrusted`; `OSError`, with EFBIG where it is larger than the limit."""
    with opened_own(path) as descriptor:
        content = bytearray()
        while piece := os.read(descriptor, limit_bytes + 1 - len(content)):
            content += piece
            if len(content) > limit_bytes:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return bytes(content)


@contextmanager
def opened_own(path: Path) -> Iterator[int]:
    """A descriptor to read a file of ours with. Raises: as `open_own`."""
    descriptor = open_own(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _require_own_file(path: str | os.PathLike[str], status: os.stat_result, *, writing: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        # A directory is refused by the call that wants a file, in its own words.
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        raise _no_file(path, status)
    if status.st_uid != os.geteuid() and (writing or status.st_uid != 0):
        raise _of_another(Path(path), status.st_uid, "XDG_DATA_HOME")
    if writing and status.st_nlink > 1:
        raise StateUntrusted(
            "{path} has a second name elsewhere (a hard link)", {"path": os.fspath(path)}, help=(_move_away(path),)
        )


def _no_file(path: str | os.PathLike[str], status: os.stat_result) -> StateUntrusted:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    return StateUntrusted(
        "{path} is {kind}, not one of vmctl's files", {"path": os.fspath(path), "kind": kind}, help=(_move_away(path),)
    )


def _move_away(path: str | os.PathLike[str]) -> str:
    name = shlex.quote(os.fspath(path))
    return f"vmctl did not create it: see what it is, `ls -l {name}`, then move it away: `mv {name} {name}.foreign`"


def _of_another(path: Path, owner: int, variable: str) -> StateUntrusted:
    me = os.geteuid()
    mine = "~/.cache" if variable == "XDG_CACHE_HOME" else "~/.local/share"
    if me == 0:
        place = mine.replace("~", "/root")
        ways: tuple[str, ...] = (
            "without sudo vmctl works on your own VMs",
            f"root's VMs are elsewhere: `sudo env {variable}={place} vmctl list`",
        )
    elif owner == 0:
        name = shlex.quote(str(path))
        ways = (f"a command run with sudo created it: `sudo chown -R {me}: {name}` makes it yours",)
    else:
        # Not by ~ alone: who runs with another user's HOME would be led to the same place.
        ways = (f"use a directory of your own: `export {variable}={mine.replace('~', f'~{user_name(me)}')}`",)
    args = {"path": str(path), "owner": user_name(owner), "user": user_name(me)}
    return StateUntrusted("{path} belongs to {owner}, and vmctl runs as {user}", args, help=ways)


def _is_private_group(uid: int, gid: int) -> bool:
    """Whether a group has no member but this user: by Debian's and Fedora's custom it has the user's name."""
    import grp

    owner = user_name(uid)
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        # In a container neither users nor groups need have names.
        return gid == os.getegid()
    return group.gr_name in (owner, "root") and set(group.gr_mem) <= {owner, "root"}
