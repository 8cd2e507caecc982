"""Commands that need root's rights in a guest."""

from __future__ import annotations

import shlex


def as_root(script: str) -> str:
    """A command that runs a shell script as root: by sudo without a password, unless the user is root."""
    quoted = shlex.quote(script)
    command = f'if [ "$(id -u)" = 0 ]; then sh -c {quoted}; else sudo -n sh -c {quoted}; fi'
    return f"sh -c {shlex.quote(command)}"
