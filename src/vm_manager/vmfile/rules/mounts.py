"""Directories of the host in the guest: which ones, and where."""

from __future__ import annotations

import os

from vm_manager.domain.owners import user_name
from vm_manager.domain.spec import SshAccess
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.input_files import UnfitFile, require_input
from vm_manager.vmfile.mount_places import unfit_place
from vm_manager.vmfile.paths import guest_path, real
from vm_manager.vmfile.rules.setting import Setting


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


def _targets(vm: Block, setting: Setting) -> None:
    ssh = vm.first("ssh")
    user = ssh.value("user", str, SshAccess.user) if ssh else SshAccess.user
    for block in vm.all("mount"):
        target = block.values[1] if len(block.values) > 1 else None
        if target is None or not str(target.value).startswith("/"):
            continue
        if unfit := unfit_place(guest_path(str(target.value)), user):
            setting.problems.add(target.span, unfit.message, unfit.what, unfit.help)


MOUNT_RULES = (_sources, _targets)
