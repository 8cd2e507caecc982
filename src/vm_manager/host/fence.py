"""A fence around a program that serves one directory: it sees nothing else of this host, and all that it does is one user's.

It is put up by the process that becomes the program, in a bare interpreter: the standard library's lightest modules only.
Sources: user_namespaces(7), mount_namespaces(7), mount_setattr(2), seccomp(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
from dataclasses import dataclass

#: Where the directory is, behind the fence. It is there on every system, and has no letters that an option would take apart.
SERVED = "/tmp"

_NEWNS, _NEWIPC, _NEWUSER, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 4, 22, 38, 47
_SECCOMP_MODE_FILTER, _PR_CAP_AMBIENT_RAISE = 2, 2
# _LINUX_CAPABILITY_VERSION_3: two words for each set.
_CAPABILITY_VERSION, _LAST_CAPABILITY = 0x20080522, 63


@dataclass(frozen=True)
class Fence:
    """directory: the one that is served, without links in its path. hidden: a directory below it that is not.

    owner: the number that the user has behind the fence.
    """

    directory: str
    read_only: bool
    owner: int
    hidden: str | None = None


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def enter(fence: Fence) -> None:
    """Put the fence around this process for good; the directory is at `SERVED` then. Raises: `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    # By its working directory: that goes with a process into a new namespace, however closed the way to it is.
    _enter_directory(fence.directory)
    _become_owner()
    # A process that has changed its user may not write to its own /proc/self/uid_map.
    _check(libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")
    uid, gid = os.geteuid(), os.getegid()
    _check(libc.unshare(_NEWUSER | _NEWNS | _NEWNET | _NEWIPC), "unshare")
    _write("setgroups", b"deny")
    _write("uid_map", b"%d %d 1" % (fence.owner, uid))
    _write("gid_map", b"%d %d 1" % (fence.owner, gid))
    _mount(libc, fence)
    _keep_capabilities(libc)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _filter_calls(libc, read_only=fence.read_only)


def die_with(parent: int) -> None:
    """Let this process be killed when the one that has started it, with that pid, ends. Raises: `OSError`."""
    _check(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def _enter_directory(path: str) -> None:
    """One component after the other, and no link: root may share what lies in a directory that is another user's."""
    current = os.open("/", os.O_PATH | os.O_DIRECTORY)
    for name in (name for name in path.split("/") if name):
        below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
        os.close(current)
        current = below
    os.fchdir(current)
    os.close(current)


def _become_owner() -> None:
    """Root serves a directory as the user who owns it."""
    if os.geteuid() != 0:
        return
    owner = os.stat(".")
    os.setgroups([])
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)


def _write(name: str, text: bytes) -> None:
    # Without Python's own files, which would need a module that this user may not be able to read.
    file = os.open(f"/proc/self/{name}", os.O_WRONLY)
    try:
        os.write(file, text)
    finally:
        os.close(file)


def _mount(libc: ctypes.CDLL, fence: Fence) -> None:
    """What is mounted below the directory is served, too."""
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    _check(libc.mount(b".", SERVED.encode(), None, _MS_BIND | _MS_REC, None), "mount")
    attributes = struct.pack("=QQQQ", _MS_NOSUID | _MS_NODEV | (_MS_RDONLY if fence.read_only else 0), 0, 0, 0)
    _check(
        libc.syscall(
            ctypes.c_long(_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            SERVED.encode(),
            ctypes.c_uint(_AT_RECURSIVE),
            attributes,
            ctypes.c_size_t(len(attributes)),
        ),
        "mount_setattr",
    )
    if fence.hidden is not None:
        flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        place = os.path.join(SERVED, os.path.relpath(fence.hidden, fence.directory))
        _check(libc.mount(b"none", os.fsencode(place), b"tmpfs", flags, b"size=4k,mode=555"), "mount")
    os.chdir("/")


def _keep_capabilities(libc: ctypes.CDLL) -> None:
    """Those of the new namespace, for the program: it builds a sandbox of its own with them, and drops what it does not need."""
    header, sets = _Header(_CAPABILITY_VERSION, 0), (_Sets * 2)()
    _check(libc.capget(ctypes.byref(header), sets), "capget")
    for held in sets:
        held.inheritable = held.permitted
    _check(libc.capset(ctypes.byref(header), sets), "capset")
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)  # this kernel may know fewer


# Numbers of system calls, by architecture. Sources: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h.
_OF_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117,
        "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
        "mknod": 133, "mknodat": 259, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "open": 2,
        "openat": 257, "creat": 85, "mkdir": 83, "mkdirat": 258, "openat2": 437, "io_uring_setup": 425,
    },
    "aarch64": {
        "setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setgroups": 159, "setresuid": 147,
        "setresgid": 149, "setfsuid": 151, "setfsgid": 152, "fchown": 55, "fchownat": 54, "mknodat": 33, "fchmod": 52,
        "fchmodat": 53, "fchmodat2": 452, "openat": 56, "mkdirat": 34, "openat2": 437, "io_uring_setup": 425,
    },
}  # fmt: skip
# All files are the one user's: what the guest asks for of another user happens, as that one.
_AS_IF_DONE = (
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setgroups",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
)
_OWNERS = ("chown", "fchown", "lchown", "fchownat")
# Their modes are not in a register: programs do without them.
_MISSING = ("openat2", "io_uring_setup")
# Which argument is the mode.
_MODES = {
    "mknod": 1, "mknodat": 2, "chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "open": 2, "openat": 3, "creat": 1,
    "mkdir": 1, "mkdirat": 2,
}  # fmt: skip
_DEVICES = ("mknod", "mknodat")

# Source: linux/bpf_common.h and linux/seccomp.h.
_LOAD, _AND, _IF_EQUAL, _IF_ANY_BIT, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000


def _filter_calls(libc: ctypes.CDLL, *, read_only: bool) -> None:
    """No device nodes, no set-user-ID programs, and one owner; whatever the program itself filters holds besides."""
    program = _program(os.uname().machine, read_only=read_only)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    handle = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _check(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, handle, 0, 0), "seccomp")


def _program(machine: str, *, read_only: bool) -> list[tuple[int, int, int, int]]:
    """The filter's instructions: code, how many to skip if so and if not, and the operand."""
    numbers = _NUMBERS.get(machine)
    if numbers is None:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {machine}")
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, _OF_AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    answers = dict.fromkeys(_AS_IF_DONE, 0) | dict.fromkeys(_OWNERS, errno.EROFS if read_only else 0)
    for name, answer in (answers | dict.fromkeys(_MISSING, errno.ENOSYS)).items():
        if name in numbers:
            program += [(_IF_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERRNO | answer)]
    for name, argument in _MODES.items():
        if name in numbers:
            steps = _of_mode(argument, devices=name in _DEVICES)
            program += [(_IF_EQUAL, 0, len(steps), numbers[name]), *steps]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _of_mode(argument: int, *, devices: bool) -> list[tuple[int, int, int, int]]:
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    # The lower half of the argument: both architectures are little-endian.
    steps = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (_IF_ANY_BIT, 0, 1, stat.S_ISUID | stat.S_ISGID), refuse]
    if devices:
        steps += [
            (_AND, 0, 0, 0o170000),
            (_IF_EQUAL, 1, 0, stat.S_IFCHR),
            (_IF_EQUAL, 0, 1, stat.S_IFBLK),
            refuse,
        ]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
