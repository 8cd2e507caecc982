"""What OpenSSH and vmctl want of private keys, told before a boot, by a look at the file, and after a login that failed."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path


def without_passphrase(path: str) -> str:
    """How to have a copy of a key that needs no passphrase. path: as it was written, `~` included."""
    name = path if path.startswith("~/") and shlex.quote(path[2:]) == path[2:] else shlex.quote(path)
    copy = f"{path}-vmctl"
    copied = copy if name == path else shlex.quote(copy)
    return f"a copy without it: `cp {name} {copied} && ssh-keygen -p -N '' -f {copied}`"


def loose_mode(path: Path) -> int | None:
    """The mode of a key of this user's that others may read, which OpenSSH refuses; None: it does not.

    Source: sshkey_perm_ok() in OpenSSH's authfile.c. Raises: `OSError`.
    """
    status = path.stat()
    loose = status.st_uid == os.getuid() and status.st_mode & 0o077
    return stat.S_IMODE(status.st_mode) if loose else None


def restrict(path: str) -> str:
    """The command after which only its owner can read a key."""
    return f"`chmod 600 {shlex.quote(path)}`"
