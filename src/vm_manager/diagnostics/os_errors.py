"""The operating system's refusals, translated once, where vmctl touches files of its own."""

from __future__ import annotations

import errno
import os
import re
import resource
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from vm_manager.diagnostics.errors import DiskFull, HostExhausted, IoFailed, PermissionDenied, VmError

# What any call may meet, whatever it was made for.
_DENIED = (errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_OTHERS = (errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE, errno.ELOOP, errno.ENAMETOOLONG)

_MIB = 1024 * 1024


def diagnosed(error: OSError, path: str | PathLike[str]) -> VmError:
    """The failure that an `OSError` on `path` is.

    `host::disk_full`, `host::permission_denied`, `host::exhausted` or `io`.
    """
    name = {"path": os.fsdecode(error.filename or path)}
    if error.errno in _EXHAUSTED:
        return exhausted(error)
    if error.errno == errno.EFBIG and (most := resource.getrlimit(resource.RLIMIT_FSIZE)[0]) != resource.RLIM_INFINITY:
        return HostExhausted(
            "{path} got too large: a file may have {most} bytes in this shell",
            {**name, "most": most},
            help=(limit_help(resource.RLIMIT_FSIZE),),
        )
    if error.errno in _FULL:
        directory = os.path.dirname(name["path"])
        return DiskFull("no space left for {path}", name, help=(free_space_help(directory),), notes=_left(directory))
    if error.errno == errno.EROFS:
        return PermissionDenied("{path} is on a read-only file system", name, help=(_writable_help(name["path"]),))
    if error.errno in _DENIED:
        return PermissionDenied("access to {path} is not allowed", name, help=(_rights_help(name["path"]),))
    if error.errno == errno.ENAMETOOLONG:
        return IoFailed(
            "the path {path} is too long: a name may have 255 bytes, and a path 4096",
            name,
            help=("use a shorter one; XDG_DATA_HOME says where vmctl keeps its files",),
        )
    if error.errno == errno.ENOTDIR and (file := _file_on_the_way(name["path"])):
        return IoFailed(
            "{path} cannot be used: {file} is not a directory",
            {**name, "file": file},
            help=(
                f"move that file away: `mv {shlex.quote(file)} {shlex.quote(f'{file}.old')}`, or use another directory",
            ),
        )
    return IoFailed("{path} cannot be used", name)


def of_the_host(error: BaseException) -> VmError | None:
    """The failure that an exception is which nobody expected: the host's, or None where it is none of the host's."""
    if isinstance(error, FileNotFoundError) and not error.filename and _is_nowhere():
        return IoFailed("the working directory no longer exists", help=("change to another directory",))
    if isinstance(error, OSError) and error.errno in (*_DENIED, *_FULL, *_EXHAUSTED, *_OTHERS):
        return diagnosed(error, error.filename or "a file")
    # CPython says the second in these words, and has no class for it.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        return exhausted(error)
    return None


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


# Options of ulimit, and values that are enough.
_ULIMIT = {
    resource.RLIMIT_NOFILE: ("-n", 1024),
    resource.RLIMIT_AS: ("-v", resource.RLIM_INFINITY),
    resource.RLIMIT_FSIZE: ("-f", resource.RLIM_INFINITY),
}


def limit_help(limit: int) -> str:
    """What to do about a limit on this process: RLIMIT_NOFILE, RLIMIT_AS or RLIMIT_FSIZE. Source: getrlimit(2)."""
    option, enough = _ULIMIT[limit]
    command = f"`ulimit {option} {'unlimited' if enough == resource.RLIM_INFINITY else enough}`"
    hard = resource.getrlimit(limit)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY or 0 <= enough <= hard:
        return f"raise the limit in this shell: {command}"
    return f"raise the limit where it is set, or as root: {command}; this shell may not raise it"


def exhausted(error: BaseException) -> HostExhausted:
    """The failure of a call that this host has no more of what it takes for."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EMFILE:
        return HostExhausted(
            "too many open files: this process may have {most}",
            {"most": resource.getrlimit(resource.RLIMIT_NOFILE)[0]},
            help=(limit_help(resource.RLIMIT_NOFILE),),
        )
    if number == errno.ENFILE:
        return HostExhausted("too many open files on this host", help=("see `sysctl fs.file-nr`, and end programs",))
    memory = resource.getrlimit(resource.RLIMIT_AS)[0]
    if number != errno.EAGAIN and memory != resource.RLIM_INFINITY:  # threads take memory, too
        return HostExhausted(
            "not enough memory: this process may have {most} MiB",
            {"most": memory // _MIB},
            help=(limit_help(resource.RLIMIT_AS),),
        )
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return HostExhausted(
            "not enough memory", help=("free some memory: see `free -h`, and `ulimit -v` in this shell",)
        )
    return HostExhausted(
        "no more processes or threads can be started",
        help=("end some, or allow more: see `ulimit -u`, and `cat /sys/fs/cgroup/pids.max` in a container",),
    )


def _file_on_the_way(path: str) -> str | None:
    ways = (str(way) for way in reversed(Path(path).absolute().parents))
    return next((way for way in ways if os.path.lexists(way) and not os.path.isdir(way)), None)


def _rights_help(path: str) -> str:
    """Which directory keeps us out, or the file itself."""
    found = _way_in(path)
    return f"run vmctl as its owner, or change its rights: `ls -ld {shlex.quote(found)}` shows them"


def _way_in(path: str) -> str:
    for directory in reversed(Path(path).absolute().parents):
        if not os.access(directory, os.X_OK):
            return str(directory)
    return path if os.path.lexists(path) else os.path.dirname(path) or "."


def _writable_help(path: str) -> str:
    return f"make it writable, `mount -o remount,rw {shlex.quote(_mount_point(path))}`, or use a directory elsewhere"


def _mount_point(path: str) -> str:
    """Where the file system of a path is mounted; st_dev does not tell bind mounts apart. Source: proc_pid_mountinfo(5)."""
    real = Path(os.path.realpath(path))
    ways = {str(way) for way in (real, *real.parents)}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            points = [re.sub(r"\\(\d{3})", lambda byte: chr(int(byte[1], 8)), line.split()[4]) for line in mounts]
    except OSError:
        return "/"
    return max(ways.intersection(points), key=len, default="/")


def free_space_help(directory: str | PathLike[str]) -> str:
    """What to do about a full disk. directory: one on it; empty: it is not known."""
    if not (place := os.fspath(directory)):
        return "free some disk space"
    return f"free some disk space (`df -h {shlex.quote(_mount_point(place))}` shows how much is left)"


def _left(directory: str) -> tuple[str, ...]:
    """How much is left on a file system: of blocks, or of what every file needs one of."""
    try:
        status = os.statvfs(directory or ".")
    except OSError:
        return ()
    if status.f_files and not status.f_favail:
        return (f"the file system has no inodes left, of {status.f_files}: it has too many files",)
    free, total = (blocks * status.f_frsize // _MIB for blocks in (status.f_bavail, status.f_blocks))
    return (f"{free} of {total} MiB are free on that file system",)


@contextmanager
def os_errors(path: str | PathLike[str]) -> Iterator[None]:
    """Translate every `OSError` of the block; `path` is named where the error itself names no file."""
    try:
        yield
    except OSError as error:
        raise diagnosed(error, path) from error
