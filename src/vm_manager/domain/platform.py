"""What VMs are to run on: the host, and the backend with what it can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vm_manager.domain.capabilities import Capabilities
from vm_manager.domain.host_facts import HostFacts


@dataclass(frozen=True, kw_only=True)
class Platform:
    """host: this machine; backend: the name of the one for new VMs; capabilities: what it can do.

    disk_bytes: the size of the disk in an image of this host; None where its header does not tell. Never fails.
    """

    host: HostFacts
    backend: str
    capabilities: Capabilities
    disk_bytes: Callable[[Path], int | None] = lambda image: None
