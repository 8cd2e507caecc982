"""The sandbox of programs that handle what others made: guests, and disk images.

Such a program gets the files that it works on, its libraries, and nothing else of this user's. A thread enters the sandbox,
starts the program and ends; so the program is our child from its first instruction on, without a launcher in between.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vm_manager.diagnostics.errors import NoSandbox, Usage
from vm_manager.diagnostics.model import Evidence
from vm_manager.domain.instance import Confinement, SandboxKind
from vm_manager.host.environment import clean_environment
from vm_manager.host.landlock import Access, FileId, landlock_version, restrict_thread
from vm_manager.host.privileges import give_up_privileges

_VARIABLE, _OFF, _REQUIRE = "VMCTL_SANDBOX", "off", "require"

_READ = Access.READ_FILE | Access.READ_DIR
_RUN = _READ | Access.EXECUTE
_WRITE = Access.READ_FILE | Access.WRITE_FILE | Access.TRUNCATE
# What a directory has that a guest may write to, but for device nodes and sockets that others listen on.
_TREE = _WRITE | Access.READ_DIR | Access.REMOVE_DIR | Access.REMOVE_FILE | Access.MAKE_DIR | Access.MAKE_REG
_TREE |= Access.MAKE_SOCK | Access.MAKE_FIFO | Access.MAKE_SYM | Access.REFER
# Not MAKE_REG: with it, a file that may be written could be renamed over one that may not.
_SOCKETS = Access.READ_DIR | Access.MAKE_SOCK | Access.REMOVE_FILE
_DEVICE = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV

# Programs and libraries, wherever a system has them: nothing there is this user's own.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *("/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"),
)
# What the dynamic linker and the libraries of QEMU look at when they start.
_SETTINGS = (
    *("/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/gnutls", "/etc/crypto-policies", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"),
    *("/sys/devices/system", "/sys/kernel/mm", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat"),
    "/proc/sys/vm/overcommit_memory",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
# What a program that was not installed into the system brings beside itself.
_OWN = ("lib", "lib64", "libexec", "share/qemu", "share/qemu-firmware", "share/seabios")


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What a program may do besides being executed.

    read, write: files, or directories with all below them. trees: directories in which it may do anything.
    sockets_in: directories in which it may make sockets, and remove files. devices: device files.
    ports: TCP ports that it may listen on, 0: any that the kernel picks. connect: whether it may connect by TCP.
    low_ports: whether root's program may listen below port 1024, by UDP, too.
    pinned: which file it has to be that is found under a name; another one is not granted.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    trees: tuple[Path, ...] = ()
    sockets_in: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    ports: tuple[int, ...] = ()
    connect: bool = False
    low_ports: bool = False
    pinned: Mapping[Path, FileId] = field(default_factory=dict)


def confinement(sandbox: Sandbox | None = None) -> Confinement:
    """What confines the programs that are started now, by this kernel and VMCTL_SANDBOX. sandbox: the one that is meant."""
    if _word() == _OFF:
        return Confinement(SandboxKind.NONE, f"{_VARIABLE}=off")
    if landlock_version() == 0:
        return Confinement(SandboxKind.NONE, "this kernel has no Landlock")
    more = " and CAP_NET_BIND_SERVICE" if sandbox and sandbox.low_ports else ""
    as_root = f"; as root, with no capability but CAP_DAC_OVERRIDE{more}" if os.geteuid() == 0 else ""
    return Confinement(SandboxKind.LANDLOCK, f"version {landlock_version()}{as_root}")


def sandbox_finding() -> NoSandbox | None:
    """That there is no sandbox, though nobody has said that there shall be none. Raises: the same where one is demanded."""
    if _word() == _OFF or landlock_version() > 0:
        return None
    finding = NoSandbox(
        "this kernel has no Landlock: QEMU and qemu-img run without a sandbox",
        help=(
            "use Linux 5.13 or newer with Landlock enabled: see `cat /sys/kernel/security/lsm`",
            "to run without it and silence this warning, set VMCTL_SANDBOX=off",
        ),
        evidence=(Evidence("probe", "landlock_create_ruleset(2)", ("missing, or blocked",)),),
    )
    if _word() == _REQUIRE:
        raise finding
    return finding


def spawn(
    argv: Sequence[str], sandbox: Sandbox | None, *, program: Path | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start a program in a clean environment, and in a sandbox where there is one.

    program: what a shell in `argv` will become; default: its first word. options: of `subprocess.Popen`.

    Raises: `host::no_sandbox` where one is demanded; `OSError`.
    """
    options = {"env": clean_environment(), **options}
    if sandbox is None or _word() == _OFF:
        return subprocess.Popen(argv, **options)
    sandbox_finding()
    with ThreadPoolExecutor(1, "sandbox") as thread:
        started = thread.submit(_enter_and_start, argv, sandbox, program or Path(argv[0]), options)
        try:
            return started.result()
        except BaseException:
            # Interrupted as we waited: nobody else knows of it.
            if started.exception() is None:
                started.result().kill()
            raise


def _word() -> str:
    word = os.environ.get(_VARIABLE, "")
    if word not in ("", _OFF, _REQUIRE):
        raise Usage("invalid VMCTL_SANDBOX: '{word}'", {"word": word}, help=("set it to off or require, or unset it",))
    return word


def _enter_and_start(
    argv: Sequence[str], sandbox: Sandbox, program: Path, options: dict[str, Any]
) -> subprocess.Popen[Any]:
    give_up_privileges(low_ports=sandbox.low_ports)
    if landlock_version() > 0:
        files = _files(program, sandbox)
        restrict_thread(files, sandbox.ports, connect=sandbox.connect, pinned=sandbox.pinned)
    return subprocess.Popen(argv, **options)


def _files(program: Path, sandbox: Sandbox) -> dict[Path, Access]:
    granted: dict[Path, Access] = {}
    for paths, access in (
        (map(Path, _SYSTEM), _RUN),
        (map(Path, _SETTINGS), _READ),
        (_beside(program.resolve()), _RUN),
        (map(Path, _DEVICES), _DEVICE),
        (sandbox.devices, _DEVICE),
        (sandbox.read, _READ),
        (sandbox.write, _WRITE | Access.READ_DIR),
        (sandbox.trees, _TREE),
        (sandbox.sockets_in, _SOCKETS),
    ):
        for path in paths:
            granted[path] = granted.get(path, Access(0)) | access
    return granted


def _beside(program: Path) -> tuple[Path, ...]:
    prefix = program.parent.parent
    return (program, *(prefix / name for name in _OWN))
