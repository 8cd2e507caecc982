"""Directories of this host in the guest: by virtiofs, with a virtiofsd for each, or by QEMU's own 9p where there is none.

Sources: QEMU's docs/tools/virtiofsd.rst of version 7.2; the README of virtiofsd in Rust; qemu(1), -fsdev.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vm_manager.backends.qemu.share_keeper import Served, probe_command, server_argv, share_keeper_command
from vm_manager.backends.qemu.sockets import remove_share_sockets, share_socket, socket_path
from vm_manager.diagnostics.errors import IoFailed
from vm_manager.domain.share import ShareType
from vm_manager.host.environment import clean_environment
from vm_manager.host.fence import Fence
from vm_manager.host.sandbox import Sandbox
from vm_manager.host.tools import how_to_install
from vm_manager.state.files import private
from vm_manager.state.log_rotation import rotate

if TYPE_CHECKING:
    from vm_manager.backends.qemu.files import QemuFiles
    from vm_manager.domain.share import Mount
    from vm_manager.domain.spec import VmSpec

# The one in Rust is looked for first; what these distributions call it: Fedora and Debian, Arch; at last QEMU's own.
_PLACES = ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
_PLACES_OF_QEMU = ("/usr/lib/qemu/virtiofsd", "/usr/lib/qemu-kvm/virtiofsd")
_OLD = re.compile(r"virtiofsd version|FUSE kernel interface")
_PROBE_S = 20.0
# The user whom cloud-init makes has it on all distributions.
_FIRST_USER, _ROOT = 1000, 0
_MEMORY = "shared-memory"


@dataclass(frozen=True)
class Server:
    """A virtiofsd of this host. old: the one in C that was a part of QEMU."""

    program: str
    old: bool


@dataclass(frozen=True)
class Sharing:
    """How a VM's directories are shared. server: by virtiofs; None: by 9p. reason: why that. as_root: whether QEMU is root's."""

    server: Server | None
    reason: str
    as_root: bool = False

    @property
    def type(self) -> ShareType:
        """By which file system the guest mounts them."""
        return ShareType.VIRTIOFS if self.server else ShareType.NINE_P


def sharing(spec: VmSpec, files: QemuFiles) -> Sharing | None:
    """How the directories of a VM are shared on this host; None: it has none. Raises: `io` for one that cannot be."""
    if not spec.mounts:
        return None
    for mount in spec.mounts:
        _require_shareable(mount, files)
    server = find_server()
    why_not = "this host has no virtiofsd" if server is None else _no_fence(spec, files)
    if server is not None and why_not is None:
        return Sharing(server, server.program)
    _require_apart(spec, files)
    return Sharing(None, str(why_not), as_root=os.geteuid() == 0)


def machine_options(sharing: Sharing | None) -> str:
    """What is added to QEMU's `-machine`: virtiofsd works in the guest's memory."""
    return f",memory-backend={_MEMORY}" if sharing and sharing.server else ""


def device_options(spec: VmSpec, sharing: Sharing | None) -> list[str]:
    """QEMU's options for the shared directories."""
    if sharing is None:
        return []
    if sharing.server is None:
        return [word for mount in spec.mounts for word in _nine_p(mount, sharing)]
    memory = f"memory-backend-memfd,id={_MEMORY},size={spec.memory_mib}M,share=on"
    return ["-object", memory, *(word for mount in spec.mounts for word in _virtiofs(mount))]


def _virtiofs(mount: Mount) -> list[str]:
    return [
        "-chardev", f"socket,id={mount.tag},path={share_socket(mount.tag)}",
        "-device", f"vhost-user-fs-pci,id=fs-{mount.tag},chardev={mount.tag},tag={mount.tag}",
    ]  # fmt: skip


def _nine_p(mount: Mount, sharing: Sharing) -> list[str]:
    # Root's QEMU would make files of root's, with any mode: there, owner and mode are kept beside the files instead.
    model = "mapped-xattr" if sharing.as_root else "none"
    read_only = ",readonly=on" if mount.read_only else ""
    path = mount.source.replace(",", ",,")
    return [
        "-fsdev", f"local,id={mount.tag},path={path},security_model={model},multidevs=remap{read_only}",
        "-device", f"virtio-9p-pci,id=fs-{mount.tag},fsdev={mount.tag},mount_tag={mount.tag}",
    ]  # fmt: skip


def confine(sandbox: Sandbox, spec: VmSpec, sharing: Sharing | None) -> Sandbox:
    """QEMU's sandbox with what it serves itself."""
    if sharing is None or sharing.server is not None:
        return sandbox
    shared = {mount: Path(mount.source) for mount in spec.mounts}
    return replace(
        sandbox,
        read=(*sandbox.read, *(path for mount, path in shared.items() if mount.read_only)),
        trees=tuple(path for mount, path in shared.items() if not mount.read_only),
    )


@dataclass(frozen=True)
class Serving:
    """held: descriptors that QEMU has to inherit: the directories are served as long as it has them. keepers: who serves."""

    held: tuple[int, ...] = ()
    keepers: tuple[subprocess.Popen[bytes], ...] = ()


@contextmanager
def serving(spec: VmSpec, files: QemuFiles, sharing: Sharing | None) -> Iterator[Serving]:
    """Serve the directories by virtiofs. Raises: `OSError`."""
    remove_share_sockets(files.home)
    if sharing is None or sharing.server is None:
        yield Serving()
        return
    rotate(str(files.shares_log))
    with ExitStack() as stack:
        life, held = os.pipe()
        stack.callback(os.close, held)
        with ExitStack() as theirs:
            theirs.callback(os.close, life)
            note = theirs.enter_context(_note(files))
            log = theirs.enter_context(open(files.shares_log, "ab", opener=private))
            served = [_listen(spec, mount, files, sharing.server, theirs) for mount in spec.mounts]
            keeper = subprocess.Popen(
                share_keeper_command(life, note, files.shares_log.name, served),
                cwd=files.home,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o022,  # the guest says what mode a file gets
                pass_fds=(life, note, *(it.socket for it in served)),
            )
        try:
            yield Serving((held,), (keeper,))
        except BaseException:
            # Without a QEMU there is nothing to serve.
            stack.close()
            keeper.wait()
            raise


def _listen(spec: VmSpec, mount: Mount, files: QemuFiles, server: Server, stack: ExitStack) -> Served:
    listening = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with socket_path(files.home, share_socket(mount.tag)) as path:
        listening.bind(path)
        os.chmod(path, 0o600)
    listening.listen(1)
    number = listening.fileno()
    argv = server_argv(server.program, old=server.old, socket=number)
    return Served(mount.target, _fence(spec, mount, files), number, argv)


def _fence(spec: VmSpec, mount: Mount, files: QemuFiles) -> Fence:
    owner = _ROOT if spec.access.user == "root" else _FIRST_USER
    data = _data_directory(files)
    hidden = str(data) if data.is_relative_to(mount.source) else None
    return Fence(mount.source, mount.read_only, owner, hidden)


def find_server() -> Server | None:
    """The virtiofsd of this host; None: there is none that runs."""
    on_path = shutil.which("virtiofsd")
    for program in (*_PLACES, *((on_path,) if on_path else ()), *_PLACES_OF_QEMU):
        if os.access(program, os.X_OK) and (said := _version(program)):
            return Server(program, bool(_OLD.search(said)))
    return None


def _version(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _no_fence(spec: VmSpec, files: QemuFiles) -> str | None:
    """Why the directories cannot be served behind a fence; None: they can."""
    for mount in spec.mounts:
        done = subprocess.run(
            probe_command(_fence(spec, mount, files)),
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return f"virtiofsd cannot be confined on this host: {said}"
    return None


def _data_directory(files: QemuFiles) -> Path:
    """vmctl's own directory, with the keys and the records of all VMs: no guest gets at it."""
    return files.home.parent.parent.resolve()


def _require_shareable(mount: Mount, files: QemuFiles) -> None:
    if not os.path.isdir(mount.source):
        raise IoFailed(
            "the directory to mount on {target} is missing: {path}",
            {"target": mount.target, "path": mount.source},
            help=("put it back, or remove its `mount` line from the VMFile",),
        )
    if Path(mount.source).is_relative_to(data := _data_directory(files)):
        raise IoFailed(
            "{path} cannot be shared with a guest: it is in vmctl's own directory, {data}",
            {"path": mount.source, "data": str(data)},
            help=("share a directory elsewhere",),
        )


def _require_apart(spec: VmSpec, files: QemuFiles) -> None:
    """QEMU's own 9p cannot leave out a part of a directory."""
    data = _data_directory(files)
    for mount in spec.mounts:
        if data.is_relative_to(mount.source):
            raise IoFailed(
                "{path} cannot be shared by 9p: vmctl's own directory is in it, {data}",
                {"path": mount.source, "data": str(data)},
                help=("share a directory further down", how_to_install("virtiofsd")),
            )


@contextmanager
def _note(files: QemuFiles) -> Iterator[int]:
    """The file for what ends too early, locked from now on as long as the keeper lives."""
    files.shares_note.unlink(missing_ok=True)
    with open(files.shares_note, "wb", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.fileno()
