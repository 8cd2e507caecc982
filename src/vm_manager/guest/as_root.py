"""What needs root in a guest, whose user may be root or somebody whom sudo lets."""

from __future__ import annotations

import shlex


def as_root(script: str) -> str:
    """The command that runs a script of sh(1) as root: at once, or through sudo(8), which must not ask; fails where neither can.

    The command's input is the script's, and its status the script's. Login shells of any kind understand it.
    """
    run = f"sh -c {shlex.quote(script)}"
    either = f'if [ "$(id -u)" = 0 ]; then exec {run}; else exec sudo -n {run}; fi'
    return f"sh -c {shlex.quote(either)}"
