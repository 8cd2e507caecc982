"""Drives `vmctl` as a process, as a person or a script would."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from zygote import Zygote

VMCTL = Path(sys.executable).with_name("vmctl")
GUEST_TOOLS = Path(__file__).parent / "guest"
#: A VM without a guest, on the disk that `blank_disk` makes.
BLANK = 'vm "blank" {\n    image "blank.qcow2"\n    memory 64\n    accel "tcg"\n}\n'
# Far beyond what any command takes; a test that hangs shall end all the same.
LIMIT_S = 1800  # of a command; a machine that is busy elsewhere was seen to take fifteen minutes for a Debian boot
_EXECUTE = bool(os.environ.get("VMCTL_TEST_EXEC"))


@cache
def _zygote() -> Zygote:
    """One for each process of tests."""
    return Zygote()


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def code(self) -> str | None:
        """The code of the first error that was shown."""
        found = re.search(r"^error\[([\w:]+)\]", self.stderr, re.MULTILINE)
        return found[1] if found else None

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.stdout)


@dataclass
class Vmctl:
    """A working directory and a data directory to run `vmctl` in. prefix: a command that runs it, in another environment."""

    directory: Path
    data: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    @classmethod
    def below(cls, base: Path) -> Vmctl:
        """An empty project and a data directory of its own below a directory."""
        (base / "project").mkdir()
        return cls(base / "project", base / "data")

    def environment(self, **extra: str) -> dict[str, str]:
        """What the process sees: the caller's environment without vmctl's own settings, and this data directory."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VMCTL_")}
        own = {"XDG_DATA_HOME": str(self.data), "XDG_CACHE_HOME": str(self.data.parent / "cache")}
        return {**inherited, **own, **self.env, **extra}

    def __call__(self, *args: str, status: int | None = 0, env: Mapping[str, str] | None = None) -> Result:
        """Run a command to its end; its exit status must be `status`, unless that is None."""
        done = self._run(args, self.environment(**(env or {})))
        result = Result(done.returncode, done.stdout, done.stderr)
        assert status is None or result.status == status, f"{args}: {result.status}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def _run(self, args: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        if not self.prefix and not _EXECUTE and _zygote().can_run_in(env):
            return _zygote().run(args, self.directory, env, LIMIT_S)
        return subprocess.run(
            [*self.prefix, str(VMCTL), *args],
            cwd=self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )

    def start(self, *args: str, **popen: Any) -> subprocess.Popen[str]:
        """Start a command and return while it runs."""
        return subprocess.Popen(
            [*self.prefix, str(VMCTL), *args],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **popen,
        )

    def write(self, text: str, name: str = "VMFile.kdl") -> Path:
        """Write a file into the working directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def home(self, name: str) -> Path:
        """The directory of a VM."""
        return self.data / "vmctl" / "vms" / name

    def record(self, name: str) -> Any:
        """The record of a VM."""
        return json.loads((self.home(name) / "vm.json").read_text())

    def destroy_all(self) -> None:
        """Remove every VM of the data directory."""
        names = self("list", "--quiet").stdout.split()
        if names:
            self("destroy", *names)


def ended(command: subprocess.Popen[str]) -> Result:
    """How a command that was started has ended."""
    stdout, stderr = command.communicate(timeout=LIMIT_S)
    assert "Traceback" not in stderr, stderr
    return Result(command.returncode, stdout, stderr)


def interrupted(command: subprocess.Popen[str]) -> Result:
    """How a command that was started in a session of its own ends when Ctrl-C is pressed."""
    os.killpg(command.pid, signal.SIGINT)
    return ended(command)


@dataclass(frozen=True)
class SavedGuest:
    """A project whose only VM was booted once, and saved to disk."""

    project: Vmctl

    @classmethod
    def of(cls, project: Vmctl) -> SavedGuest:
        """Save the VM, which is up."""
        project("suspend", "--to-disk", *project("list", "--quiet").stdout.split())
        return cls(project)

    def restore(self, copy: Vmctl) -> Vmctl:
        """Make an empty project a copy of this one and its VM, up: in a fraction of the time that a boot takes."""
        for source, target in ((self.project.directory, copy.directory), (self.project.data, copy.data)):
            subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
        copy("up", "--adopt")
        return copy


def build(tool: str) -> Path:
    """The guest image that a builder of tests/guest makes or has made."""
    done = subprocess.run([str(GUEST_TOOLS / tool)], stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    return Path(done.stdout.strip())


def blank_disk(directory: Path, size: str = "16M") -> None:
    """Make `blank.qcow2`, an empty disk, for VMs without a guest."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(directory / "blank.qcow2"), size], check=True)


def path_without(tool: str, directory: Path) -> str:
    """A PATH on which everything is found but one tool."""
    directory.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            link = directory / program.name
            if program.name != tool and not link.exists() and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


def without_tool(vmctl: Vmctl, tool: str) -> Vmctl:
    """The same on a host that has no such program, neither on PATH nor elsewhere: in its place is what nobody can execute."""
    program = shutil.which(tool)
    assert program is not None
    hide = 'mount --bind /dev/null "$0" && exec "$@"'
    return replace(vmctl, prefix=(*vmctl.prefix, "unshare", "--mount", "sh", "-c", hide, program))


def as_user(uid: int) -> tuple[str, ...]:
    """The prefix that runs vmctl as a user who has his own rights only; root's sources and Python are opened to him."""
    tests = Path(__file__).parent
    return (str(tests / "as-nobody"), str(uid), str(tests.parent), sys.prefix, sys.base_prefix, "--")


@contextmanager
def small_file_system(path: Path, size: str) -> Iterator[Path]:
    """A file system of that size, mounted at a directory. It goes as soon as nobody is in it any more: not only QEMU is."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        wait_for(
            lambda: subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0, "umount"
        )


def qemu_processes(below: Path) -> list[int]:
    """The QEMUs whose working directory is below a directory."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            name, cwd = (process / "comm").read_text(), (process / "cwd").readlink()
        except OSError:
            continue  # it has ended, or is not ours
        if name.startswith("qemu-system") and cwd.is_relative_to(below):
            found.append(int(process.name))
    return found


def processes_below(directory: Path) -> list[str]:
    """The command lines of all processes that work in a directory, or in one below it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or process.name == str(os.getpid()):
            continue
        try:
            if (process / "cwd").readlink().is_relative_to(directory):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended, or is not ours
    return found


def is_locked(path: Path) -> bool:
    """Whether a process holds the flock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def listening(pid: int) -> list[tuple[str, int]]:
    """The TCP sockets on which a process listens. Source: proc(5), /proc/net/tcp."""
    inodes = {os.readlink(link)[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir() if "socket:" in os.readlink(link)}
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                raw = b"".join(bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8))
                found.append((socket.inet_ntop(family, raw), int(port, 16)))
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Return when the condition holds; a generous limit, since machines are noisy."""
    ends = time.monotonic() + LIMIT_S / 3
    while not condition():
        assert time.monotonic() < ends, f"still waiting for {what}"
        time.sleep(0.1)
