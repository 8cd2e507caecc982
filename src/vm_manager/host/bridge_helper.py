"""QEMU's helper that attaches a user's card to a bridge: setuid root, with a list of the bridges that users may use.

vmctl runs it, and not QEMU, which may start nothing. Source: QEMU's qemu-bridge-helper.c, and `-netdev bridge` in qemu(1).
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

from vm_manager.diagnostics.errors import HostError, MissingTool, PermissionDenied
from vm_manager.diagnostics.model import Evidence
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.diagnostics.safe_text import safe_lines
from vm_manager.domain.owners import user_name
from vm_manager.host.environment import clean_environment
from vm_manager.host.process import describe_status
from vm_manager.host.tools import how_to_install

_log = logging.getLogger(__name__)

#: Where TAP devices are made; most systems open it to everybody, as it gives no right by itself.
TUN_DEVICE = Path("/dev/net/tun")
_NAME = "qemu-bridge-helper"
# Of Debian, of Red Hat and Arch, of openSUSE, and of NixOS, whose setuid programs are elsewhere.
_USUAL = (
    *("/run/wrappers/bin", "/usr/lib/qemu", "/usr/libexec", "/usr/libexec/qemu", "/usr/lib64/qemu"),
    *("/usr/local/libexec", "/usr/local/lib/qemu"),
)
_ACL = Path("/etc/qemu/bridge.conf")
_ACL_BYTES = 64 * 1024
_TIMEOUT_S = 10.0
_QUOTED_LINES, _QUOTED_CHARS = 6, 4000
_FILE_CAPABILITIES = "security.capability"
# The helper's words, in all of its versions.
_NOT_LISTED = re.compile(r"acl file|access denied", re.IGNORECASE)
_NO_RIGHT = re.compile(r"Operation not permitted|Permission denied", re.IGNORECASE)


def find_helper() -> Path:
    """The helper, where packages put it, or beside the QEMU that is used.

    Raises: `host::missing_tool`, `host::permission_denied`.
    """
    qemu = shutil.which("qemu-system-x86_64")
    beside = [Path(qemu).resolve().parent.parent / "libexec"] if qemu else []
    places = [*map(Path, _USUAL), *beside]
    found = next((place / _NAME for place in places if (place / _NAME).exists()), None)
    if found is not None and os.access(found, os.X_OK):
        return found
    if found is not None:
        raise PermissionDenied(
            "{user} may not run {path}, which attaches cards to bridges",
            {"user": user_name(os.geteuid()), "path": str(found)},
            help=(f"join the group that may: `ls -l {shlex.quote(str(found))}` shows it", "or run vmctl as root"),
        )
    raise MissingTool(
        "{tool} is not installed: without root, only that attaches a card to a bridge",
        {"tool": _NAME},
        help=(how_to_install(_NAME), "or run vmctl as root"),
        evidence=(Evidence("probe", _NAME, tuple(f"{place}: not there" for place in places)),),
    )


def helper_obstacle(bridge: str) -> HostError | None:
    """What is known to keep the helper from attaching a card, by a look at it and at its list; it is not run."""
    try:
        helper = find_helper()
    except HostError as obstacle:
        return obstacle
    help = (*_not_privileged(helper), *_not_listed(bridge), *_device_closed())
    return _refused(bridge, f"{_NAME} is not set up for it", help) if help else None


def open_by_helper(bridge: str) -> int:
    """The descriptor of a TAP device on a bridge, made by the helper; it is closed on exec.

    Raises: `host::missing_tool`, `host::permission_denied`, `host::exhausted`.
    """
    helper = find_helper()
    ours, its = socket.socketpair()
    with ours:
        argv = [str(helper), "--use-vnet", f"--fd={its.fileno()}", f"--br={bridge}"]
        _log.info("$ %s", shlex.join(argv))
        with its:
            status, said = _run(argv, its.fileno())
        ours.settimeout(_TIMEOUT_S)
        with suppress(OSError):
            _, descriptors, *_ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if descriptors:
                return descriptors[0]
    lines = (f"$ {shlex.join(argv)}", *safe_lines(said)[:_QUOTED_LINES], describe_status(status))
    why = next((line for line in safe_lines(said) if line.strip()), describe_status(status))
    obstacles = _not_listed(bridge, sure=bool(_NOT_LISTED.search(said)))
    if not obstacles or _NO_RIGHT.search(said):
        obstacles += (*_not_privileged(helper), *_device_closed())
    raise _refused(bridge, f"{_NAME}: {why}", obstacles, (Evidence("process", str(helper), lines),))


def _run(argv: list[str], descriptor: int) -> tuple[int | None, str]:
    """How it ended, and what it said. Raises: `host::permission_denied`, `host::exhausted`, `io`."""
    try:
        child = subprocess.Popen(
            argv, env=clean_environment(), pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise diagnosed(error, argv[0]) from error
    try:
        _, said = child.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        with suppress(PermissionError):  # it runs as root
            child.kill()
        return None, ""
    return child.returncode, said.decode(errors="replace")[:_QUOTED_CHARS]


def _refused(bridge: str, why: str, help: tuple[str, ...], evidence: tuple[Evidence, ...] = ()) -> PermissionDenied:
    as_root = f"{'or ' if help else ''}run vmctl as root" if os.geteuid() else _IN_CONTAINER
    return PermissionDenied(
        "{user} may not attach a network card to the bridge {bridge}: {why}",
        {"user": user_name(os.geteuid()), "bridge": bridge, "why": why},
        help=(*help, as_root),
        evidence=evidence,
    )


_IN_CONTAINER = "root lacks CAP_NET_ADMIN here: in a container, add it with `--cap-add NET_ADMIN`"


def _not_privileged(helper: Path) -> tuple[str, ...]:
    """How the helper gets root's right, where it has it not: by its mode, or by capabilities of the file."""
    try:
        status = helper.stat()
        if status.st_mode & stat.S_ISUID and status.st_uid == 0:
            return ()
        if _FILE_CAPABILITIES in os.listxattr(helper):
            return ()
    except OSError:
        return ()
    return (f"let users attach cards with it, as root: `chmod u+s {shlex.quote(str(helper))}`",)


def _device_closed() -> tuple[str, ...]:
    """How the device is opened to users: of root's rights the helper keeps only that to make network devices."""
    if not TUN_DEVICE.exists() or os.access(TUN_DEVICE, os.R_OK | os.W_OK):
        return ()
    return (f"let users open {TUN_DEVICE}, as root: `chmod 0666 {TUN_DEVICE}`",)


def _not_listed(bridge: str, *, sure: bool = False) -> tuple[str, ...]:
    """How the bridge gets onto the helper's list. sure: it is not there; else the list is looked at."""
    if not sure and _lists(bridge):
        return ()
    line = shlex.quote(f"allow {bridge}")
    return (f"allow this bridge, as root: `mkdir -p {_ACL.parent} && echo {line} >>{_ACL}`",)


def _lists(bridge: str) -> bool:
    """Whether the list may allow a bridge; also when that is not known."""
    try:
        with _ACL.open(errors="replace") as file:
            words = [line.split() for line in file.read(_ACL_BYTES).splitlines()]
    except FileNotFoundError:
        return False
    except OSError:
        return True  # only root reads it
    return any(it[:1] == ["include"] or it in (["allow", bridge], ["allow", "all"]) for it in words)
