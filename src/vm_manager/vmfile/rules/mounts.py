"""Directories of the host in the guest: which ones, and where."""

from __future__ import annotations

import os

from vm_manager.domain.owners import user_name
from vm_manager.domain.spec import SshAccess
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.input_files import UnfitFile, require_input
from vm_manager.vmfile.paths import guest_path, real
from vm_manager.vmfile.rules.setting import Setting

# What a guest does not run without.
_OF_GUEST = (
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/boot",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/var",
    "/tmp",
)


def _sources(vm: Block, setting: Setting) -> None:
    for block in vm.all("mount"):
        source = block.values[0] if block.values else None
        if source is None or setting.problems.is_full:
            continue
        try:
            path = real(str(source.value), setting.directory)
            require_input(path)
            status = path.stat()
        except (OSError, ValueError, RuntimeError, UnfitFile):
            continue  # another rule says so
        read_only = block.value("read-only", bool, False)
        if str(path) == "/":
            setting.problems.add(
                source.span, "the root directory cannot be shared with a guest", f"→ {path}",
                "share a directory further down",
            )  # fmt: skip
        elif status.st_uid not in (os.geteuid(), 0):
            setting.problems.warn(
                source.span, f"the directory to mount belongs to another user: {user_name(status.st_uid)}", f"→ {path}",
                _as_owner(user_name(status.st_uid)),
            )  # fmt: skip
        elif not read_only and not os.access(path, os.W_OK):
            setting.problems.warn(
                source.span, "the guest cannot write to the directory to mount, since you cannot", f"→ {path}",
                "write read-only=#true, or share a directory of your own",
            )  # fmt: skip


def _as_owner(owner: str) -> str:
    if os.geteuid() == 0:
        return f"the guest reads and writes it as {owner}"
    return "the guest reads and writes what you may"


def _home(vm: Block) -> tuple[str, str]:
    """The user who logs in, and where the guest has that user's home as a rule."""
    ssh = vm.first("ssh")
    user = ssh.value("user", str, SshAccess.user) if ssh else SshAccess.user
    return user, "/root" if user == "root" else f"/home/{user}"


def _targets(vm: Block, setting: Setting) -> None:
    user, home = _home(vm)
    for block in vm.all("mount"):
        target = block.values[1] if len(block.values) > 1 else None
        if target is None or not str(target.value).startswith("/"):
            continue
        place = guest_path(str(target.value))
        if place == "/":
            setting.problems.add(
                target.span, "a directory cannot be mounted on / of the guest", "the guest's own root directory",
                "mount it further down, such as on /srv",
            )  # fmt: skip
        elif f"{home}/.ssh" == place or home == place or home.startswith(f"{place}/"):
            setting.problems.add(
                target.span, f"a directory on {place} hides the keys of user '{user}'", f"{home}/.ssh is what vmctl logs in by",
                f"mount it below, such as on {home}/src" if place == home else "mount it elsewhere, such as on /srv",
            )  # fmt: skip
        elif place in _OF_GUEST or place.startswith(("/proc/", "/sys/", "/dev/")):
            setting.problems.add(
                target.span, f"a directory cannot be mounted on {place} of the guest", "the guest does not run without it",
                "mount it elsewhere, such as on /srv",
            )  # fmt: skip


MOUNT_RULES = (_sources, _targets)
