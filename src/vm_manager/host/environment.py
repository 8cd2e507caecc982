"""What of the caller's environment a program that vmctl runs gets to see: names that it needs, and never a token by accident.

/proc/PID/environ keeps what a process was started with for as long as it lives, and QEMU lives for months.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

# Where programs are, and how they speak to this user.
_ALL = ("PATH", "LANG", "LANGUAGE", "TZ")
_LOCALE = "LC_"

#: What OpenSSH's client needs besides: the user's terminal and agent, and whatever asks for a passphrase.
SSH = (
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "COLORTERM",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
)


def clean_environment(more: Iterable[str] = ()) -> dict[str, str]:
    """The environment for a program. more: further variables that it gets, where they are set."""
    kept = {*_ALL, *more}
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith(_LOCALE)}
