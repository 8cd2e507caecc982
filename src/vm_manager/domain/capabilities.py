"""What a backend has, and what it keeps of its own in a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vm_manager.domain.network import NetworkMode

#: A backend's own part of an instance record.
BackendData = Mapping[str, object]


class Feature(StrEnum):
    """What not every backend has; each is a group of methods of `Machine`."""

    SUSPEND = "suspend/resume"
    SAVED_STATE = "saved state"
    SNAPSHOTS = "snapshots"
    MIGRATION = "migration"
    CONSOLE = "serial console"
    SCREEN = "graphical screen"


@dataclass(frozen=True)
class Capabilities:
    """What a backend has.

    guests: with an operating system (and so SSH and provisioning).
    networks: the modes it knows, whether or not this version runs them. mounts: directories of the host in the guest.
    features: the optional groups of methods that its machines have; planning refuses what needs another one.
    """

    guests: bool
    networks: frozenset[NetworkMode]
    mounts: bool
    features: frozenset[Feature]
