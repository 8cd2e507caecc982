"""The processor architectures of guests, and of this host."""

from __future__ import annotations

import os
from enum import StrEnum


class Architecture(StrEnum):
    """As Linux and QEMU call them."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"


# What other systems than Linux call them.
_ALSO = {"arm64": Architecture.AARCH64, "amd64": Architecture.X86_64}


def host_architecture() -> Architecture | None:
    """Of this host; None when it is another one."""
    machine = os.uname().machine
    return _ALSO.get(machine) or next((known for known in Architecture if known == machine), None)


#: What a VM has where nothing is said of it: the host's, where guests of that can be run.
DEFAULT_ARCHITECTURE = host_architecture() or Architecture.X86_64


def is_foreign(architecture: Architecture) -> bool:
    """Whether this host cannot execute its code itself."""
    return architecture is not host_architecture()
